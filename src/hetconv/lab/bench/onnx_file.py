"""The ONNX file of a network for one runtime: each form tried there, compared, timed in turns, the fastest kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from hetconv.clock import medians_in_turns, wall
from hetconv.errors import HetconvError, UsageError
from hetconv.export.fastest_forms import mixed, slow_forms, summary
from hetconv.export.forms import AnyForm, Mixed, forms_to_try
from hetconv.export.onnx_model import to_onnx
from hetconv.export.prepared_network import prepare
from hetconv.export.verify import compare, reference
from hetconv.foreign import describe_error
from hetconv.lab.bench.measured_network import Network
from hetconv.lab.bench.single_layers import timed_layers

Load = Callable[[Path, int], Callable[[Any], Any]]


def fastest_form(
    folder: Path, file: str, load: Load, threads: int, convert: Callable[[Path], None] | None = None
) -> str:
    """Write the fastest form as `file`; what `convert` makes of it lies beside it.

    Each distinct HetConv layer is timed alone; then the whole network with every layer in its fastest form, and
    with all layers in one.

    Returns:
        the form's name, or what is true of a network without HetConv layers.

    Raises:
        HetconvError: no form runs there and computes the same.
    """
    network, model = Network.load(folder)
    x = network.example()
    expected = reference(model, x)

    def loaded(at: Path) -> Callable[[Any], Any]:
        if convert is not None:
            convert(at)
        return load(at, threads)

    forms, refused = _forms(folder, file, network, model, loaded)
    running: dict[str, Callable[[Any], Any]] = {}
    exported: dict[str, bytes] = {}
    for name, form in forms.items():
        try:
            exported[name] = _exported(folder / f"form-{name}.onnx", network, model, form)
            (folder / file).write_bytes(exported[name])
            session = loaded(folder)
            compare(name, session, [x], [expected])
            running[name] = session
        except Exception as error:  # whatever a runtime or its converter does
            refused[name] = describe_error(error)
    if not running:
        raise HetconvError("; ".join(dict.fromkeys(refused.values())))
    timers = {name: wall(session, x.numpy()) for name, session in running.items()}
    times = medians_in_turns(timers) if len(timers) > 1 else {}
    taken = min(running, key=lambda form: times.get(form, 0.0))
    (folder / file).write_bytes(exported[taken])
    if convert is not None:
        convert(folder)
    return taken if len(times) + len(refused) > 1 else ""


def _forms(
    folder: Path, file: str, network: Network, model: nn.Module, loaded: Callable[[Path], Callable[[Any], Any]]
) -> tuple[dict[str, AnyForm | Mixed], dict[str, str]]:
    """What is tried by its name, and what is not and why."""
    forms: dict[str, AnyForm | Mixed] = {form: form for form in forms_to_try(model)}
    if len(forms) == 1:
        return forms, {}
    try:
        layers = timed_layers(folder, model, network.example(), loaded, file)
    except (HetconvError, UsageError) as error:
        return forms, {"a form for each layer": str(error)}
    slow = slow_forms(layers)
    chosen = mixed(layers)
    forms = {name: form for name, form in forms.items() if name not in slow}
    if len(set(chosen.values())) > 1:
        forms[summary(chosen)] = chosen
    return forms, slow


def _exported(path: Path, network: Network, model: nn.Module, form: AnyForm | Mixed) -> bytes:
    """A form as ONNX; one that all layers have is exported once for all runtimes."""
    if isinstance(form, str) and path.exists():
        return path.read_bytes()
    onnx = to_onnx(prepare(model, network.example(), form).network, network.example())
    if isinstance(form, str):
        path.write_bytes(onnx)
    return onnx
