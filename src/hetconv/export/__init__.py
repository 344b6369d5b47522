"""Writing networks for other runtimes, compared numerically before anything is left on disk."""

from hetconv.export.export import export_onnx
from hetconv.export.export_report import ExportReport

__all__ = ["ExportReport", "export_onnx"]
