"""HetConv layers for PyTorch: the layer, its exact cost, conversion, and an honest comparison."""

from hetconv.nn import HetConv2d, fold_pointwise
from hetconv.ops import Explanation, explain, het_conv2d
from hetconv.pattern import HetPattern

__all__ = ["Explanation", "HetConv2d", "HetPattern", "explain", "fold_pointwise", "het_conv2d"]
