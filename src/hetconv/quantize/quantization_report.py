"""What quantization did to a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hetconv.plain_text import visible


@dataclass(frozen=True)
class QuantizationReport:
    """Accuracy, outputs, size and time before and after, in the same runtime.

    Attributes:
        backend: the runtime.
        images: how many test images there are.
        accuracy_before, accuracy_after: fractions of 1, of images, or of pixels where the network classifies those;
            None where `why_no_accuracy` says why.
        agreement: the fraction on which both give the same class; None for a network without classes.
        difference: of the outputs, root mean square, over that of the outputs before.
        bytes_before, bytes_after: of the files.
        ms_before, ms_after: median time of one image, timed in turns.
    """

    path: Path
    backend: str
    calibration_images: int
    images: int
    accuracy_before: float | None
    accuracy_after: float | None
    agreement: float | None
    difference: float
    bytes_before: int
    bytes_after: int
    ms_before: float
    ms_after: float
    why_no_accuracy: str | None = None

    def __str__(self) -> str:
        return visible("\n".join([
            f"{self.path}: 8-bit by {self.backend}, ranges from {self.calibration_images} images",
            self._accuracy(),
            f"outputs differ by {self.difference:.2%} of their root mean square",
            f"size: {self.bytes_before:,} → {self.bytes_after:,} bytes",
            f"time of one image: {self.ms_before:.3g} → {self.ms_after:.3g} ms ({self.ms_before / self.ms_after:.2f}×)",
        ]))  # fmt: skip

    def _accuracy(self) -> str:
        agreement = "" if self.agreement is None else f"; the same class on {self.agreement:.2%}"
        if self.accuracy_before is None or self.accuracy_after is None:
            return f"no accuracy on {self.images} images: {self.why_no_accuracy}{agreement}"
        change = 100 * (self.accuracy_after - self.accuracy_before)
        return (
            f"accuracy on {self.images} images: {self.accuracy_before:.2%} before, {self.accuracy_after:.2%} after "
            f"({change:+.2f} points){agreement}"
        )
