"""Writing networks for other runtimes, compared numerically before anything is left on disk."""

from hetconv.export.deployed import export_deployed
from hetconv.export.export import export_onnx
from hetconv.export.export_report import DeployedExportReport, ExportReport

__all__ = ["DeployedExportReport", "ExportReport", "export_deployed", "export_onnx"]
