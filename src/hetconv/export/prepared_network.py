"""A network made ready for a runtime: batch norm folded, and HetConv layers in a form of standard convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.export.forms import FORMS, AnyForm, Mixed, in_form
from hetconv.graph.fold_module_graph import Folding, fold_module_graph
from hetconv.layout import Relayout
from hetconv.nn import HetConv2d
from hetconv.wrappers import copied

SPLIT = ("grouped", "sliced")


@dataclass(frozen=True)
class Prepared:
    """A network of standard layers that computes what the model does.

    Attributes:
        folding: what became of its batch norms.
        notes: where channels are gathered, and why.
        layers: its HetConv layers by name.
    """

    network: nn.Module
    folding: Folding
    notes: tuple[str, ...]
    layers: tuple[str, ...]


def folded_copy(model: nn.Module, example: Tensor) -> tuple[nn.Module, Folding]:
    """A copy in evaluation mode with its batch norms folded."""
    return fold_module_graph(copied(model).eval().requires_grad_(False), example)


def prepare(model: nn.Module, example: Tensor, form: AnyForm | Mixed) -> Prepared:
    """Make a network ready; the model is left as it was.

    The native form takes either arrangement. Split forms want the blocked one: a network that cannot be brought there
    gathers channels around each shifted layer, and `notes` says so.

    Args:
        form: of all layers, or of each by the name that it has in `blocked`; one that has none there is dense.

    Raises:
        UsageError: the form is not known.
    """
    forms = set(form.values()) if isinstance(form, Mapping) else {form}
    if not forms <= set(FORMS):
        raise UsageError(f"form={form!r} must be auto, {', '.join(FORMS)}")
    if forms & set(SPLIT):
        network, folding, notes = blocked(model, example)
    else:
        (network, folding), notes = folded_copy(model, example), ()
    layers = tuple(layers_of(network))
    return Prepared(replace_layers_(network, form), folding, notes, layers)


def blocked(model: nn.Module, example: Tensor) -> tuple[nn.Module, Folding, tuple[str, ...]]:
    """A folded copy with its HetConv layers blocked, where it can be; and where channels are gathered, and why."""
    network, folding = folded_copy(model, example)
    try:
        plan = Relayout(network, "blocked")
        return plan.result(gather=True), folding, plan.reasons
    except UsageError as error:
        return network, folding, (f"around every shifted layer, since {error}",)


def layers_of(network: nn.Module) -> dict[str, HetConv2d]:
    """HetConv layers, each by its first name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, HetConv2d)}


def replace_layers_(network: nn.Module, form: AnyForm | Mixed) -> nn.Module:
    """Put each HetConv layer into a form, in place; a layer used in several places stays one."""
    made: dict[nn.Module, nn.Module] = {
        layer: in_form(layer, form.get(name, "dense") if isinstance(form, Mapping) else form)
        for name, layer in layers_of(network).items()
    }
    if network in made:
        return made[network]
    for parent in list(network.modules()):
        for key, child in parent._modules.items():
            if child in made:
                parent._modules[key] = made[child]
    return network
