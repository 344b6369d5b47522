"""Networks for ONNX Runtime whose convolutions run on the native kernels, as an operator of its own domain."""

from hetconv.export.native.form import DOMAIN, NativeForm
from hetconv.export.native.onnx_graph import Rewritten, rewrite_

__all__ = ["DOMAIN", "NativeForm", "Rewritten", "rewrite_"]
