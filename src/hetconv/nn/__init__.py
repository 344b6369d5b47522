"""The HetConv layer and the blocks it is compared with."""

from hetconv.nn.blocks import GroupwisePointwise, SqueezeExcitation
from hetconv.nn.het_conv import HetConv2d, fold_pointwise

__all__ = ["GroupwisePointwise", "HetConv2d", "SqueezeExcitation", "fold_pointwise"]
