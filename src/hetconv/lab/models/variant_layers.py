"""The layers a variant puts into a network."""

from __future__ import annotations

import warnings

from torch import nn

from hetconv.lab.variant import Variant
from hetconv.nn import GroupwisePointwise, HetConv2d, PaddingMode, SqueezeExcitation
from hetconv.pattern import largest_valid_p

SE_REDUCTION = 8
"""The HetConv paper's reduction for squeeze-and-excitation."""


class Layers:
    """Makes a network's K×K convolutions, and what follows them, as one variant wants them.

    Where P or G does not divide a layer's channels, the largest divisor below it is taken and kept in `lowered`.
    """

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.lowered: list[str] = []

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 1,
        dilation: int | tuple[int, int] = 1,
        bias: bool = False,
        padding_mode: PaddingMode = "zeros",
    ) -> nn.Module:
        """A K×K convolution from in_channels to out_channels."""
        variant = self.variant
        sizes = (in_channels, out_channels, kernel_size, stride, padding, dilation)
        if variant.layer == "het":
            wanted = in_channels if variant.p is None else variant.p
            p = self._parts("p", wanted, largest_valid_p(in_channels, out_channels, wanted))
            return HetConv2d(*sizes, p, bias, padding_mode, variant.arrangement)
        if variant.layer in ("gwc-pwc", "dwc-pwc"):
            groups = in_channels if variant.groups is None else self._groups(in_channels, variant.groups)
            return GroupwisePointwise(*sizes, groups, bias, padding_mode)
        return nn.Conv2d(*sizes, bias=bias, padding_mode=padding_mode)

    def gate(self, channels: int) -> nn.Module:
        """What follows the convolution's activation: squeeze-and-excitation or nothing."""
        if not self.variant.squeeze_excitation:
            return nn.Identity()
        return SqueezeExcitation(channels, min(SE_REDUCTION, channels))

    def warn_if_lowered(self, network: str) -> None:
        if self.lowered:
            warnings.warn(f"{network} {self.variant.spec}: {'; '.join(dict.fromkeys(self.lowered))}", stacklevel=3)

    def _groups(self, in_channels: int, wanted: int) -> int:
        return self._parts("groups", wanted, max(g for g in range(1, wanted + 1) if in_channels % g == 0))

    def _parts(self, name: str, wanted: int, valid: int) -> int:
        if valid != wanted:
            self.lowered.append(
                f"{name}={valid} instead of {wanted}, which does not divide the channels of some layers"
            )
        return valid
