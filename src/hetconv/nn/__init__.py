"""The HetConv layer and the blocks it is compared with."""

from hetconv.nn.blocks import GroupwisePointwise, SqueezeExcitation
from hetconv.nn.het_conv import HetConv2d, PaddingMode, fold_pointwise
from hetconv.nn.packed import PackedHetConv2d, pack

__all__ = [
    "GroupwisePointwise",
    "HetConv2d",
    "PackedHetConv2d",
    "PaddingMode",
    "SqueezeExcitation",
    "fold_pointwise",
    "pack",
]
