"""The blocks that HetConv replaces: a grouped or depthwise convolution and a 1×1 convolution one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.nn.het_conv import PaddingMode
from hetconv.pattern import nearest_valid_p


class GroupwisePointwise(nn.Module):
    """GWC+PWC: a K×K convolution M → M in groups, then a 1×1 convolution M → N. With groups=M it is DWC+PWC.

    As in MobileNet (Howard et al. 2017, figure 3), batch norm and ReLU stand between the two; what follows the
    second is the network's, as after any convolution.

    Shape:
        input (B, M, H, W); output (B, N, H', W').

    Raises:
        UsageError: groups does not divide in_channels.
    """

    extra_layers = 1
    """Two layers run one after the other where there was one: the paper's latency."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 4,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if groups < 1:
            raise UsageError(f"groups={groups} must be a positive integer")
        if in_channels % groups:
            nearest = " or ".join(map(str, nearest_valid_p(in_channels, in_channels, groups)))
            raise UsageError(f"in_channels={in_channels} must be divisible by groups={groups}; nearest: {nearest}")
        self.groupwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias=bias and norm is None,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        self.norm = nn.Identity() if norm is None else norm(in_channels)
        self.activation = nn.Identity() if norm is None else nn.ReLU(inplace=True)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.activation(self.norm(self.groupwise(x))))  # type: ignore[no-any-return]


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu et al., CVPR 2018): scale each channel by a gate computed from all channels' means.

    Shape:
        input and output (B, C, H, W).
    """

    extra_layers = 2
    """Its two linear layers run one after the other."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise UsageError(f"reduction={reduction} must be from 1 to channels={channels}")
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]
