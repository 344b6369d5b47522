"""What compressing a network gives back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hetconv.lab.results import Compression, TrainingCost
from hetconv.plain_text import visible


@dataclass(frozen=True)
class CompressedModel:
    """The smaller network, and the record of how it was got.

    Attributes:
        model: in evaluation mode. After 8-bit quantization it runs in ONNX Runtime, for inference only.
        record: stages with their epochs, what became of each layer, held-out accuracy, complexity.
    """

    model: nn.Module
    record: Compression

    @property
    def cost(self) -> TrainingCost:
        """Epochs, seconds and multiply-adds of all training, the first included."""
        return self.record.cost

    def __str__(self) -> str:
        cost, record = self.cost, self.record
        lines = [
            f"{record.method}: {record.accuracy:.2%} on the held-out split, {record.complexity.macs / 1e6:,.2f} M "
            f"MACs, {record.complexity.params / 1e6:,.3f} M parameters",
            f"got in {cost.epochs} epochs, {cost.seconds:,.0f} s, {cost.macs / 1e12:,.3f} T MACs of training",
        ]
        changed = [layer for layer in record.layers if layer.reason is None]
        lines += [f"  {layer.name}: {layer.before} → {layer.after} {layer.unit}" for layer in changed]
        kept = [f"  {layer.name}: as it was ({layer.reason})" for layer in record.layers if layer.reason is not None]
        return visible("\n".join([*lines, *(kept or ["  left as they were: none"])]))
