"""What least squares did to each layer of a network."""

from __future__ import annotations

from dataclasses import dataclass

from hetconv.adaptation.statistics import Statistics
from hetconv.table import NOTHING, Table


@dataclass(frozen=True)
class RefitLayer:
    """One layer; residuals are shares of the output's variance, on images that were held out.

    Attributes:
        unknowns: of each filter.
        pixels: that its equations are of.
        ridge: None if the layer kept its weights.
    """

    name: str
    p: int
    unknowns: int
    pixels: int
    ridge: float | None
    residual_before: float
    residual_after: float

    @property
    def note(self) -> str:
        """What a user should know of it."""
        if not self.pixels:
            return "nothing to mend"
        if self.ridge is None:
            return "kept its weights: nothing lowered the residual"
        if self.pixels < 2 * self.unknowns:
            return "few pixels for so many unknowns; more images would help"
        return ""


@dataclass(frozen=True)
class RefitReport:
    """Layers in the order in which the network computes them.

    Attributes:
        never: HetConv layers that the images do not reach; left as they were.
        images: how many there were, the held-out share among them.
        statistics: of batch norm: kept, re-estimated, or there is none.
        error_before, error_after: root mean square difference of the network's outputs from the original's, over that
            of the original's, on images that were held out.
    """

    layers: tuple[RefitLayer, ...]
    never: tuple[str, ...]
    images: int
    statistics: Statistics
    error_before: float
    error_after: float

    def __str__(self) -> str:
        rows = [
            (
                layer.name,
                str(layer.p),
                str(layer.unknowns),
                f"{layer.pixels:,}",
                NOTHING if layer.ridge is None else f"{layer.ridge:g}",
                f"{layer.residual_before:.4f} → {layer.residual_after:.4f}",
                layer.note,
            )
            for layer in self.layers
        ]
        header = ("name", "P", "unknowns", "pixels", "ridge", "residual", "note")
        return "\n".join([
            f"refitted {len(rows)} layers on {self.images} images; relative error of the network's outputs "
            f"{self.error_before:.4f} → {self.error_after:.4f}; batch norm statistics: {self.statistics}",
            "",
            *Table.of_rows(header, rows).lines(),
            *(["", f"never reached: {', '.join(self.never)}"] if self.never else []),
        ])  # fmt: skip
