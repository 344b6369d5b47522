"""The HetConv layer as a module."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.ops import native
from hetconv.ops.arguments import Padding, Size2, both_weights, geometry, same_padding
from hetconv.ops.explain import Explanation, explain
from hetconv.ops.functional import het_conv2d
from hetconv.ops.kept import KeptWeights
from hetconv.ops.native import choose_algorithm
from hetconv.ops.packed import het_conv2d_packed, layer_numbers
from hetconv.ops.transforms import is_traced, knows_only_torch
from hetconv.ops.weights import from_dense_weight, to_dense_weight
from hetconv.pattern import ARRANGEMENTS, Arrangement, HetPattern

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
AVERAGED = 0.05
"""How far averaging state dicts in float or bfloat16 may bring a stored P from its whole number."""


class HetConv2d(nn.Module):
    """Heterogeneous convolution (Singh et al., CVPR 2019): K×K kernels on 1/P of the channels, 1×1 on the rest.

    It replaces an `nn.Conv2d` one for one and takes the same arguments, with `p` and `arrangement` for `groups`.

    Shape:
        input (B, M, H, W) or (M, H, W); output (B, N, H', W') or (N, H', W'), sizes as for `nn.Conv2d`.

    In evaluation mode without gradients, the native CPU kernels keep the weights packed between calls (about the
    weights' memory once more) and pack them anew when they change; nothing of it is saved.

    Attributes:
        weight_spatial: (N, M/P, K, K)
        weight_pointwise: (N, M − M/P); where the K×K kernels have their centre tap, these have their only one. None at
            P=1, where every kernel is K×K
        bias: (N), or None

    Args:
        kernel_size: odd K, or (K_height, K_width).
        p: P, which must divide in_channels and out_channels; 1 is a standard convolution.
        padding: numbers, "same" or "valid".
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        arrangement: "shifted", the paper's, or "blocked", which grouped convolutions compute.

    Raises:
        UsageError: an argument is out of its range, or p does not divide the channel counts.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2,
        stride: Size2 = 1,
        padding: Padding = 0,
        dilation: Size2 = 1,
        p: int = 4,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        arrangement: Arrangement = "shifted",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.pattern = HetPattern(in_channels, out_channels, kernel_size, p, arrangement)
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise UsageError(f"padding_mode={padding_mode!r} must be zeros, reflect, replicate or circular")
        checked = geometry(stride, padding, dilation, self.pattern.kernel_hw)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = self.pattern.kernel_hw
        self.stride, self.dilation = checked.stride, checked.dilation
        self.padding: tuple[int, int] | str = padding if isinstance(padding, str) else checked.padding
        self.p, self.arrangement, self.padding_mode = p, arrangement, padding_mode
        self.weight_spatial = nn.Parameter(torch.empty(self.pattern.spatial_shape, device=device, dtype=dtype))
        self.weight_pointwise: nn.Parameter | None
        self.bias: nn.Parameter | None
        for name, shape, present in (
            ("weight_pointwise", self.pattern.pointwise_shape, p > 1),
            ("bias", (out_channels,), bias),
        ):
            tensor = torch.empty(shape, device=device, dtype=dtype) if present else None
            self.register_parameter(name, None if tensor is None else nn.Parameter(tensor))
        self._kept = KeptWeights()
        self.reset_parameters()
        if self.weight_spatial.device.type == "cpu":
            native.warn_if_missing()

    @property
    def fan_in(self) -> int:
        """Weights of one filter, K²·M/P + M − M/P: how many products each output sums."""
        return self.pattern.weights // self.out_channels

    def reset_parameters(self) -> None:
        """Draw weights and bias uniformly from ±1/√fan_in, as `nn.Conv2d` does, with this layer's own fan-in."""
        bound = 1 / math.sqrt(self.fan_in)
        for parameter in (self.weight_spatial, self.weight_pointwise, self.bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding_mode == "zeros":
            padding: Any = self.padding
        else:
            x, padding = functional.pad(x, self._pad_sides(), mode=self.padding_mode), 0
        if not torch.compiler.is_compiling() and self._keeps_packed(x):
            where = geometry(self.stride, padding, self.dilation, self.kernel_size)
            batch, _, *size = x.shape
            if min(where.output_hw((size[0], size[1]), self.kernel_size)) > 0:
                algorithm = choose_algorithm(self.pattern, where, (batch, size[0], size[1]))
                packed = self._kept.get(*self.weights(), self.pattern, algorithm)
                if packed is not None:
                    return het_conv2d_packed(x, packed, self.bias, None, layer_numbers(self.pattern, where, None))
        return het_conv2d(
            x,
            self.weight_spatial,
            self.weight_pointwise,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            arrangement=self.arrangement,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                "a HetConv2d has no weight: its weights are weight_spatial (N, M/P, K, K) and weight_pointwise "
                "(N, M − M/P); to_dense().weight is its kernel with zeros where it has none"
            )
        return super().__getattr__(name)

    def _keeps_packed(self, x: Tensor) -> bool:
        """Whether this is a call of plain eager inference on the native kernels, which then keep packed weights."""
        weights = [weight for weight in (self.weight_spatial, self.weight_pointwise) if weight is not None]
        tensors = (x, *weights, *(() if self.bias is None else (self.bias,)))
        return (
            not self.training
            and not torch.is_grad_enabled()
            and type(x) is Tensor
            and not is_traced()
            and x.dim() == 4
            and x.shape[1] == self.in_channels
            and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
            and all(type(weight) is nn.Parameter for weight in weights)
            and not torch.is_autocast_enabled("cpu")
            and not torch._C._len_torch_dispatch_stack()
            and not knows_only_torch()
            and native.why_not(x) is None
        )

    def weights(self) -> tuple[Tensor, Tensor]:
        """weight_spatial and weight_pointwise, at P=1 an empty (N, 0)."""
        return both_weights(self.weight_spatial, self.weight_pointwise)

    def _pad_sides(self) -> tuple[int, int, int, int]:
        """Padding in pixels as (left, right, top, bottom)."""
        if self.padding == "same":
            height, width = same_padding(self.kernel_size, self.dilation)
        else:
            height, width = (0, 0) if isinstance(self.padding, str) else self.padding
        return (width, width, height, height)

    def explain(self, x: Tensor) -> Explanation:
        """Which path a call with this input takes, what it executes, and why not the others."""
        if self.padding_mode != "zeros":
            x = functional.pad(x, self._pad_sides(), mode=self.padding_mode)
        padding: Any = self.padding if self.padding_mode == "zeros" else 0
        return explain(
            x,
            self.weight_spatial,
            self.weight_pointwise,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            arrangement=self.arrangement,
        )

    def to_dense(self) -> nn.Conv2d:
        """The standard convolution that computes the same, its kernel zero where this layer has none."""
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
            dtype=self.weight_spatial.dtype,
        )
        spatial, pointwise = self.weights()
        weight = to_dense_weight(spatial.detach(), pointwise.detach(), self.pattern)
        conv.weight = nn.Parameter(weight, self.weight_spatial.requires_grad)
        if self.bias is not None:
            conv.bias = nn.Parameter(self.bias.detach().clone(), self.bias.requires_grad)
        return conv.train(self.training)

    @classmethod
    def from_dense(cls, conv: nn.Conv2d, p: int = 4, arrangement: Arrangement = "shifted") -> Self:
        """A HetConv layer with what its pattern keeps of a standard convolution; 1×1 kernels are the centre taps.

        It computes the same only if the rest of the kernel was zero; otherwise it wants fine-tuning.

        Raises:
            UsageError: the convolution is grouped or transposed, has an even kernel, or p does not divide its channels.
        """
        if type(conv) is not nn.Conv2d:
            raise UsageError(f"from_dense takes an nn.Conv2d, not {type(conv).__name__}")
        if conv.groups != 1:
            raise UsageError(f"groups={conv.groups} must be 1: a grouped convolution has no dense kernel to project")
        layer = cls._shell(conv, p, arrangement)
        spatial, pointwise = from_dense_weight(conv.weight.detach(), layer.pattern)
        layer._take(spatial, pointwise, None if conv.bias is None else conv.bias.detach().clone())
        layer.requires_grad_(conv.weight.requires_grad)
        if layer.bias is not None and conv.bias is not None:
            layer.bias.requires_grad_(conv.bias.requires_grad)
        return layer.train(conv.training)

    @classmethod
    def _shell(cls, conv: Any, p: int, arrangement: Arrangement) -> Self:
        """The layer of a convolution's sizes, its weights still to be given."""
        return cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            p,
            conv.bias is not None,
            conv.padding_mode,
            arrangement,
            device="meta",
            dtype=conv.weight.dtype,
        )

    def _take(self, spatial: Tensor, pointwise: Tensor, bias: Tensor | None) -> None:
        """Pointwise weights at P=1, where there are none, are left."""
        self.weight_spatial = nn.Parameter(spatial.contiguous())
        self.weight_pointwise = nn.Parameter(pointwise.contiguous()) if self.p > 1 else None
        self.bias = None if bias is None else nn.Parameter(bias)

    def get_extra_state(self) -> Tensor:
        """[P, arrangement] for the state dict: the weights' shapes alone do not tell the arrangement."""
        return torch.tensor([self.p, ARRANGEMENTS.index(self.arrangement)], device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of a layer with another P or arrangement; averaging state dicts rounds these two numbers."""
        stored = [float(number) for number in state]
        whole = len(stored) == 2 and all(math.isfinite(one) and abs(one - round(one)) < AVERAGED for one in stored)
        if not whole or not 0 <= round(stored[1]) < len(ARRANGEMENTS):
            raise UsageError(
                f"the checkpoint's layer has [P, arrangement]={state.tolist()}, which are no whole numbers; were state "
                f"dicts of layers with different P or arrangement averaged?"
            )
        p, arrangement = round(stored[0]), ARRANGEMENTS[round(stored[1])]
        if (p, arrangement) != (self.p, self.arrangement):
            raise UsageError(
                f"the checkpoint's layer has p={p}, arrangement={arrangement!r} and this one p={self.p}, "
                f"arrangement={self.arrangement!r}; build the model as the checkpoint was trained"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}weight" in state_dict:
            raise UsageError(
                f"{prefix}weight is a dense kernel; load it into the dense network and convert that "
                f"(hetconv.convert_ or HetConv2d.from_dense)"
            )
        if f"{prefix}_extra_state" in state_dict:  # before any weight is overwritten
            self.set_extra_state(state_dict[f"{prefix}_extra_state"])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, p={self.p}"
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        if self.arrangement != "shifted":
            parts.append(f"arrangement={self.arrangement}")
        return ", ".join(parts)


def fold_pointwise(grouped: nn.Conv2d, pointwise: nn.Conv2d) -> HetConv2d:
    """Fold `grouped(x) + pointwise(x)` into the one blocked HetConv layer that computes exactly the same.

    Args:
        grouped: M → N, K×K, groups=P.
        pointwise: M → N, 1×1 without padding; on the channels that `grouped` sees, its weights join the centre taps.

    Raises:
        UsageError: the two do not add up position by position.
    """
    for conv in (grouped, pointwise):
        if type(conv) is not nn.Conv2d:
            raise UsageError(f"fold_pointwise takes two nn.Conv2d, not {type(conv).__name__}")
    for name in ("in_channels", "out_channels", "stride"):
        if getattr(grouped, name) != getattr(pointwise, name):
            raise UsageError(
                f"{name} differs: {getattr(grouped, name)} of the grouped convolution, {getattr(pointwise, name)} of "
                f"the 1×1; they must be equal to add up"
            )
    if pointwise.kernel_size != (1, 1) or pointwise.groups != 1 or _pads(pointwise) != (0, 0):
        raise UsageError(f"the second convolution must be a full 1×1 without padding, not {pointwise}")
    p = grouped.groups
    layer = HetConv2d._shell(grouped, p, "blocked")
    centred = same_padding(layer.kernel_size, layer.dilation)
    if _pads(grouped) != centred:
        raise UsageError(
            f"padding={grouped.padding} puts the centre tap off the position that the 1×1 reads; it must be {centred}"
        )
    parts = HetPattern(layer.in_channels, layer.out_channels, 1, p, "blocked")
    own, others = from_dense_weight(pointwise.weight.detach(), parts)
    spatial = grouped.weight.detach().clone()
    spatial[:, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] += own[:, :, 0, 0]
    biases = [conv.bias.detach() for conv in (grouped, pointwise) if conv.bias is not None]
    layer._take(spatial, others, torch.stack(biases).sum(0) if biases else None)
    return layer.train(grouped.training)


def _pads(conv: Any) -> tuple[int, int]:
    if conv.padding == "same":
        return same_padding(conv.kernel_size, conv.dilation)
    return (0, 0) if isinstance(conv.padding, str) else conv.padding
