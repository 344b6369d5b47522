"""A HetConv layer from standard convolutions, in the forms that runtimes know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.export.native import NativeForm
from hetconv.nn import HetConv2d
from hetconv.ops.arguments import geometry
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import HetPattern, blocked_to_shifted, shifted_to_blocked

Form = Literal["grouped", "sliced", "dense"]
"""Of standard operators."""
AnyForm = Form | Literal["native"]
FORMS: tuple[str, ...] = (*get_args(Form), "native")
Mixed = Mapping[str, Form]
"""A form for each layer, by its name."""

MOST_SLICES = 16
"""Parts up to which the sliced form is tried: it makes a convolution of each."""


class SplitForm(nn.Module):
    """A grouped K×K convolution, and a 1×1 convolution of all channels added to it.

    Each weight is in one of the two, and the other has a zero there: the sum is the layer exactly. A shifted layer
    gathers its channels before and behind.

    Args:
        sliced: a convolution on each part's slice of channels, concatenated, in the place of the grouped one.

    Shape:
        as the layer's.
    """

    def __init__(self, layer: HetConv2d, sliced: bool) -> None:
        super().__init__()
        pattern = layer.pattern
        self.where = geometry(layer.stride, layer.padding, layer.dilation, pattern.kernel_hw)
        self.pad_mode, self.pad_sides = layer.padding_mode, layer._pad_sides()
        self.padding = self.where.padding if layer.padding_mode == "zeros" else (0, 0)
        spatial, pointwise = layer.weight_spatial.detach(), _pointwise(layer)
        self.before: Tensor | None
        self.behind: Tensor | None
        shifted = layer.arrangement == "shifted"
        before, behind = shifted_to_blocked(layer.in_channels, layer.p), blocked_to_shifted(layer.out_channels, layer.p)
        self.register_buffer("before", torch.tensor(before) if shifted else None)
        self.register_buffer("behind", torch.tensor(behind) if shifted else None)
        if shifted:
            spatial = spatial[torch.tensor(shifted_to_blocked(layer.out_channels, layer.p))]
        parts = layer.p if sliced else 1
        self.spatial = nn.ModuleList(self._conv(weights, layer.p // parts) for weights in spatial.chunk(parts))
        self.pointwise = nn.Conv2d(
            layer.in_channels, layer.out_channels, 1, layer.stride, self._pointwise_padding(pattern), device="meta"
        )
        self.pointwise.weight = nn.Parameter(pointwise[:, :, None, None])
        self.pointwise.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    def _conv(self, weight: Tensor, groups: int) -> nn.Conv2d:
        filters, channels, height, width = weight.shape
        conv = nn.Conv2d(
            channels * groups, filters, (height, width), self.where.stride, self.padding, self.where.dilation, groups,
            bias=False, device="meta",
        )  # fmt: skip
        conv.weight = nn.Parameter(weight.clone())
        return conv

    def _offset(self, pattern: HetPattern) -> tuple[int, int]:
        """The pixel that the centre tap reads at the first output, as (row, column); negative in the padding."""
        (height, width), (down, right) = pattern.kernel_hw, self.where.dilation
        return down * (height // 2) - self.padding[0], right * (width // 2) - self.padding[1]

    def _pointwise_padding(self, pattern: HetPattern) -> tuple[int, int]:
        down, right = self.offset = self._offset(pattern)
        return max(0, -down), max(0, -right)

    def forward(self, x: Tensor) -> Tensor:
        if self.pad_mode != "zeros":
            x = functional.pad(x, self.pad_sides, mode=self.pad_mode)
        down, right = (max(0, offset) for offset in self.offset)
        own = x if self.before is None else x.index_select(1, self.before)
        slices = own.chunk(len(self.spatial), 1) if len(self.spatial) > 1 else (own,)
        found = [conv(part) for conv, part in zip(self.spatial, slices, strict=True)]
        y = torch.cat(found, 1) if len(found) > 1 else found[0]
        centre = x[:, :, down : x.shape[2] - down, right : x.shape[3] - right] if down or right else x
        if self.behind is not None:
            y = y.index_select(1, self.behind)
        return y + self.pointwise(centre)  # type: ignore[no-any-return]


def _pointwise(layer: HetConv2d) -> Tensor:
    """(N, M): a filter's 1×1 weights, zero where it has K×K kernels."""
    pattern = layer.pattern
    one = HetPattern(pattern.in_channels, pattern.out_channels, 1, pattern.p, pattern.arrangement)
    none = layer.weight_spatial.new_zeros(one.spatial_shape)
    return to_dense_weight(none, layer.weights()[1].detach(), one)[:, :, 0, 0]


def in_form(layer: HetConv2d, form: AnyForm) -> nn.Module:
    """The layer in a form; one dense convolution where there is nothing to split (P=1, or a 1×1 kernel).

    The native form is written and not computed: see `NativeForm`.

    Raises:
        UsageError: the form is not known.
    """
    if form not in FORMS:
        raise UsageError(f"form={form!r} must be one of {', '.join(FORMS)}")
    if form == "native":
        return NativeForm(layer)
    if form == "dense" or layer.p == 1 or layer.pattern.taps == 1:
        return layer.to_dense()
    return SplitForm(layer, sliced=form == "sliced")


def forms_to_try(model: nn.Module) -> tuple[Form, ...]:
    """The forms that differ for this network, or for this layer, and may be the fastest."""
    layers = [module for module in model.modules() if isinstance(module, HetConv2d)]
    parts = max((layer.p for layer in layers if layer.pattern.taps > 1), default=1)
    if parts == 1:
        return ("dense",)
    return ("grouped", "sliced", "dense") if parts <= MOST_SLICES else ("grouped", "dense")
