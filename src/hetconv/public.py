"""Whatever `import hetconv` gives."""

from hetconv.adaptation import DistillationReport, Plan, RefitReport, distill_, plan, refit_
from hetconv.convert import ConversionReport, convert_, convertible, swap_
from hetconv.cost import LatencyReport, complexity, latency, speedup_theory
from hetconv.deployment import Deployed, DeployReport, deploy, load_deployed
from hetconv.export import DeployedExportReport, ExportReport, export_deployed, export_onnx
from hetconv.layout import relayout
from hetconv.nn import HetConv2d, PackedHetConv2d, fold_pointwise, pack
from hetconv.ops import Explanation, allow_winograd, explain, het_conv2d
from hetconv.pattern import HetPattern
from hetconv.quantize import QuantizationReport, quantize_onnx
from hetconv.runtimes import onnx_runtime_library, register_onnx_runtime
from hetconv.weights_file import load_weights

__all__ = [
    "ConversionReport",
    "DeployReport",
    "Deployed",
    "DeployedExportReport",
    "DistillationReport",
    "Explanation",
    "ExportReport",
    "HetConv2d",
    "HetPattern",
    "LatencyReport",
    "PackedHetConv2d",
    "Plan",
    "QuantizationReport",
    "RefitReport",
    "allow_winograd",
    "complexity",
    "convert_",
    "convertible",
    "deploy",
    "distill_",
    "explain",
    "export_deployed",
    "export_onnx",
    "fold_pointwise",
    "het_conv2d",
    "latency",
    "load_deployed",
    "load_weights",
    "onnx_runtime_library",
    "pack",
    "plan",
    "quantize_onnx",
    "refit_",
    "register_onnx_runtime",
    "relayout",
    "speedup_theory",
    "swap_",
]
