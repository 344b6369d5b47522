"""The HetConv layer and the blocks it is compared with."""

from hetconv.nn.blocks import GroupwisePointwise, SqueezeExcitation
from hetconv.nn.het_conv import HetConv2d, PaddingMode, fold_pointwise
from hetconv.nn.packed_het_conv import PackedHetConv2d, pack
from hetconv.nn.sparse import SparseConv2d, SparseLinear

__all__ = [
    "GroupwisePointwise",
    "HetConv2d",
    "PackedHetConv2d",
    "PaddingMode",
    "SparseConv2d",
    "SparseLinear",
    "SqueezeExcitation",
    "fold_pointwise",
    "pack",
]
