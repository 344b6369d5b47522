"""The ONNX file of a network for one runtime: each form tried there, compared, timed in turns, the fastest kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hetconv.bench.network import Network
from hetconv.errors import HetconvError, UsageError
from hetconv.export.forms import forms_to_try
from hetconv.export.onnx_model import to_onnx
from hetconv.export.prepare import prepare
from hetconv.export.timing import interleaved_medians
from hetconv.export.verify import compare, reference

Load = Callable[[Path, int], Callable[[Any], Any]]


def fastest_form(
    folder: Path, file: str, load: Load, threads: int, convert: Callable[[Path], None] | None = None
) -> str:
    """Write the fastest form as `file`; what `convert` makes of it lies beside it.

    Returns:
        the form's name, or what is true of a network without HetConv layers.

    Raises:
        HetconvError: no form runs there and computes the same.
    """
    network, model = Network.load(folder)
    x = network.example()
    expected = reference(model, x)
    running: dict[str, Callable[[Any], Any]] = {}
    refused: dict[str, str] = {}
    for form, exported in _exported(folder, network, model).items():
        (folder / file).write_bytes(exported)
        try:
            if convert is not None:
                convert(folder)
            session = load(folder, threads)
            compare(form, session, [x], [expected])
            running[form] = session
        except Exception as error:  # whatever a runtime or its converter does
            refused[form] = " ".join(str(error).split())
    if not running:
        raise HetconvError("; ".join(dict.fromkeys(refused.values())))
    times = interleaved_medians(running, x.numpy()) if len(running) > 1 else {}
    taken = min(running, key=lambda form: times.get(form, 0.0))
    (folder / file).write_bytes(_form_file(folder, taken).read_bytes())
    if convert is not None:
        convert(folder)
    return taken if len(times) + len(refused) > 1 else ""


def _exported(folder: Path, network: Network, model: Any) -> dict[str, bytes]:
    """Every form as ONNX, exported once for all runtimes."""
    for form in forms_to_try(model):
        path = _form_file(folder, form)
        if not path.exists():
            try:
                path.write_bytes(to_onnx(prepare(model, form).network, network.example()))
            except UsageError:
                if form == "dense":
                    raise
    return {
        form: _form_file(folder, form).read_bytes() for form in forms_to_try(model) if _form_file(folder, form).exists()
    }


def _form_file(folder: Path, form: str) -> Path:
    return folder / f"form-{form}.onnx"
