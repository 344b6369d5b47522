"""What quantization did to a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuantizationReport:
    """Accuracy, size and time before and after, in the same runtime.

    Attributes:
        backend: the runtime.
        images: how many images accuracies are over.
        accuracy_before, accuracy_after: fractions of 1.
        agreement: on which fraction of images both give the same class.
        bytes_before, bytes_after: of the files.
        ms_before, ms_after: median time of one image, timed in turns.
    """

    path: Path
    backend: str
    calibration_images: int
    images: int
    accuracy_before: float
    accuracy_after: float
    agreement: float
    bytes_before: int
    bytes_after: int
    ms_before: float
    ms_after: float

    def __str__(self) -> str:
        change = 100 * (self.accuracy_after - self.accuracy_before)
        return "\n".join([
            f"{self.path}: 8-bit by {self.backend}, ranges from {self.calibration_images} images",
            f"accuracy on {self.images} images: {self.accuracy_before:.2%} before, {self.accuracy_after:.2%} after "
            f"({change:+.2f} points); the same class on {self.agreement:.2%}",
            f"size: {self.bytes_before:,} → {self.bytes_after:,} bytes",
            f"time of one image: {self.ms_before:.3g} → {self.ms_after:.3g} ms ({self.ms_before / self.ms_after:.2f}×)",
        ])  # fmt: skip
