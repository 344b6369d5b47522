"""8-bit networks by the runtimes' own post-training quantization, with the accuracy before and after."""

from hetconv.quantize.quantization import quantize_onnx
from hetconv.quantize.quantization_report import QuantizationReport

__all__ = ["QuantizationReport", "quantize_onnx"]
