"""The ways to export a network: each exported, loaded, compared with the network, and timed in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from hetconv.clock import medians_in_turns, wall
from hetconv.deployment.whole import native_steps
from hetconv.errors import HetconvError, UsageError
from hetconv.export.fastest_forms import LayerForm, choose, layer_kinds, mixed, slow_forms, summary
from hetconv.export.forms import AnyForm, Mixed, forms_to_try
from hetconv.export.native import DOMAIN, Rewritten, WholeNetwork, rewrite_, whole_to_onnx
from hetconv.export.onnx_model import to_onnx
from hetconv.export.prepared_network import Prepared, prepare
from hetconv.export.verify import Checked, compare
from hetconv.graph.equality import Reference
from hetconv.nn import HetConv2d
from hetconv.runtimes import open_session


@dataclass(frozen=True)
class Choice:
    """One way to export a network.

    Attributes:
        name: as the report tells it.
        form: of all layers, or of each by its name.
        convolutions: in the native form, whether standard convolutions run on the native kernels too.
        whole: in the native form, whether the whole network is one operator.
    """

    name: str
    form: AnyForm | Mixed
    convolutions: bool = False
    whole: bool = False


EVERY, HET_ONLY, WHOLE = "every convolution", "HetConv layers only", "the whole network as one operator"
PER_LAYER = "a form for each layer"


def choices(model: nn.Module, form: AnyForm | Literal["auto"]) -> tuple[Choice, ...]:
    """What is tried for a form; "auto" means standard operators."""
    has_layers = any(isinstance(module, HetConv2d) for module in model.modules())
    if form == "native":
        whole, every = Choice(f"native, {WHOLE}", "native", whole=True), Choice(f"native, {EVERY}", "native", True)
        return (whole, every, Choice(f"native, {HET_ONLY}", "native")) if has_layers else (whole, every)
    if form == "auto" or not has_layers:
        return tuple(Choice(name, name) for name in forms_to_try(model))
    return (Choice(form, form),)


class Candidate:
    """A network in one form, exported, loaded into a runtime and compared with the model.

    Attributes:
        rewritten: what became of it in the native form.

    Raises:
        UsageError: it cannot be exported so.
        HetconvError: the runtime computes something else than the model.
    """

    def __init__(
        self,
        model: nn.Module,
        choice: Choice,
        tried: tuple[Tensor, ...],
        references: list[Reference],
        threads: int,
        runtime: str = "onnxruntime",
    ) -> None:
        self.prepared: Prepared = prepare(model, tried[0], choice.form)
        self.rewritten: Rewritten | WholeNetwork | None = None
        native = choice.form == "native"
        if choice.whole:
            steps = native_steps(model, tried[0])
            self.onnx, self.rewritten = whole_to_onnx(steps, tried[0]), WholeNetwork.of(steps)
        elif native:
            self.onnx = to_onnx(self.prepared.network, tried[0], self._rewrite(choice.convolutions), DOMAIN)
        else:
            self.onnx = to_onnx(self.prepared.network, tried[0])
        self.session = open_session(runtime, self.onnx, threads, native)
        self.checked: tuple[Checked, ...] = compare(runtime, self.session, tried, references)

    def _rewrite(self, convolutions: bool) -> Any:
        def rewrite(onnx_ir_model: Any) -> None:
            self.rewritten = rewrite_(onnx_ir_model, convolutions)

        return rewrite


@dataclass(frozen=True)
class Fastest:
    """The fastest way to export a network.

    Attributes:
        timed_ms: median time of every way, if there are several.
        refused: ways that were not taken, and why.
        layers: the forms of single layers, if they were timed.
    """

    name: str
    candidate: Candidate
    timed_ms: dict[str, float]
    refused: dict[str, str]
    layers: tuple[LayerForm, ...] = ()


def fastest(
    model: nn.Module,
    form: AnyForm | Literal["auto"],
    tried: tuple[Tensor, ...],
    references: list[Reference],
    threads: int,
    runtime: str = "onnxruntime",
) -> Fastest:
    """Export a network in every way that a form has, and time them in turns on the runtime.

    "auto" times the layers first, and tries each layer in its own fastest form beside all layers in one form.

    Raises:
        UsageError, HetconvError: none can be exported.
    """
    candidates: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    layers: tuple[LayerForm, ...] = ()
    ways = choices(model, form)
    if form == "auto" and len(ways) > 1:
        try:
            layers = choose(layer_kinds(model, tried[0]), lambda onnx: open_session(runtime, onnx, threads))
        except (HetconvError, UsageError) as error:
            refused[PER_LAYER] = str(error)
        forms = mixed(layers)
        refused |= slow_forms(layers)
        if len(set(forms.values())) > 1:
            ways = (*ways, Choice(summary(forms), forms))
    for choice in ways:
        if choice.name in refused:
            continue
        try:
            candidates[choice.name] = Candidate(model, choice, tried, references, threads, runtime)
        except (HetconvError, UsageError) as error:
            if len(ways) == 1 or (form == "native" and not choice.whole):
                raise
            refused[choice.name] = str(error)
    if not candidates:
        raise HetconvError(f"no form can be exported: {'; '.join(f'{name}: {why}' for name, why in refused.items())}")
    timed: dict[str, float] = {}
    if len(candidates) > 1:
        x = tried[0].numpy()
        timed = medians_in_turns({name: wall(candidate.session, x) for name, candidate in candidates.items()})
    taken = min(timed or candidates, key=lambda name: timed.get(name, 0.0))
    return Fastest(taken, candidates[taken], timed, refused, layers)
