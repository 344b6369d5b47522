"""An exported network, rewritten for ONNX Runtime with the native kernels in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hetconv.export.native.channels_last import make_channels_last_
from hetconv.export.native.convolutions import take_convolutions_
from hetconv.export.native.form import DOMAIN, VERSION
from hetconv.export.native.fuse import fuse_, is_layer


@dataclass(frozen=True)
class Rewritten:
    """What became of a network.

    Attributes:
        layers: how many convolutions run on the native kernels, HetConv layers and others.
        residuals, activations: how many joined them.
        transposed: how many images are transposed, at the edges of runs of layers.
    """

    layers: int
    residuals: int
    activations: int
    transposed: int

    def __str__(self) -> str:
        return (
            f"on the native kernels: {self.layers} convolutions, with {self.residuals} residual additions and "
            f"{self.activations} activations; images transposed: {self.transposed}"
        )


def rewrite_(model: Any, convolutions: bool) -> Rewritten:
    """Fuse and lay out an exported network, in place.

    Args:
        model: an onnx_ir model in which HetConv layers are `NativeForm`s.
        convolutions: whether standard convolutions run on the native kernels too.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    model.opset_imports[DOMAIN] = VERSION
    if convolutions:
        take_convolutions_(graph)
    joined = fuse_(graph)
    transposed = make_channels_last_(graph)
    RemoveUnusedNodesPass()(model)
    layers = sum(is_layer(node) for node in graph)
    return Rewritten(layers, joined["residual"], joined["activation"], transposed)
