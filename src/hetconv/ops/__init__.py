"""The operator `het_conv2d`: what it computes, on which path, and its gradients."""

from hetconv.ops.explain import Explanation, explain
from hetconv.ops.functional import het_conv2d
from hetconv.ops.gpu import register as _register  # the operators' CUDA kernels  # noqa: F401
from hetconv.ops.native import allow_winograd

__all__ = ["Explanation", "allow_winograd", "explain", "het_conv2d"]
