"""The forms of a network's single layers for one runtime, timed there alone; exported once for all runtimes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hetconv.export.fastest_forms import Kind, LayerForm, choose, layer_kinds
from hetconv.export.forms import Form

KINDS = "layers.json"


def timed_layers(
    folder: Path, model: nn.Module, example: Tensor, load: Callable[[Path], Callable[[Any], Any]], file: str
) -> tuple[LayerForm, ...]:
    """Time the forms of each distinct layer in a runtime.

    Args:
        folder: of the network; what is exported stays there.
        load: given a folder with an ONNX model called `file`, the runtime's function.

    Raises:
        UsageError, HetconvError: a layer cannot be exported, or the runtime takes no form of it.
    """
    if not (folder / KINDS).exists():
        _save(folder, layer_kinds(model, example))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:

        def opened(onnx: bytes) -> Callable[[Any], Any]:
            (Path(scratch) / file).write_bytes(onnx)
            return load(Path(scratch))

        return choose(_load(folder), opened)


def _save(folder: Path, kinds: tuple[Kind, ...]) -> None:
    for at, kind in enumerate(kinds):
        for form, onnx in kind.models.items():
            _file(folder, at, form).write_bytes(onnx)
    said = [{"names": kind.names, "layer": kind.layer, "shape": kind.shape, "forms": [*kind.models]} for kind in kinds]
    (folder / KINDS).write_text(json.dumps(said))


def _load(folder: Path) -> tuple[Kind, ...]:
    return tuple(
        Kind(
            tuple(kind["names"]),
            kind["layer"],
            tuple(kind["shape"]),
            {form: _file(folder, at, form).read_bytes() for form in kind["forms"]},
        )
        for at, kind in enumerate(json.loads((folder / KINDS).read_text()))
    )


def _file(folder: Path, at: int, form: Form) -> Path:
    return folder / f"layer-{at}-{form}.onnx"
