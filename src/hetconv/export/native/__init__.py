"""Networks for ONNX Runtime whose convolutions run on the native kernels, as operators of their own domain."""

from hetconv.export.native.form import DOMAIN, NativeForm
from hetconv.export.native.onnx_graph import Rewritten, rewrite_
from hetconv.export.native.whole_network import WholeNetwork, whole_to_onnx

__all__ = ["DOMAIN", "NativeForm", "Rewritten", "WholeNetwork", "rewrite_", "whole_to_onnx"]
