"""A network made ready for a runtime: batch norm folded, and HetConv layers in a form of standard convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hetconv.errors import UsageError
from hetconv.export.fold import Folding, fold_batch_norms
from hetconv.export.forms import FORMS, AnyForm, in_form
from hetconv.layout import Relayout
from hetconv.layout.capture import copied
from hetconv.nn import HetConv2d

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


def folded_copy(model: nn.Module) -> tuple[nn.Module, Folding]:
    """A copy in evaluation mode with its batch norms folded."""
    return fold_batch_norms(copied(model).eval().requires_grad_(False))


def prepare(model: nn.Module, form: AnyForm) -> Prepared:
    """Make a network ready; the model is left as it was.

    The native form takes either arrangement. Split forms want the blocked one: a network that cannot be brought there
    gathers channels around each shifted layer, and `notes` says so.

    Raises:
        UsageError: the form is not known.
    """
    if form not in FORMS:
        raise UsageError(f"form={form!r} must be auto, {', '.join(FORMS)}")
    network, folding = folded_copy(model)
    notes: tuple[str, ...] = ()
    if form in SPLIT:
        try:
            plan = Relayout(network, "blocked")
            notes = plan.reasons
            network = plan.result(gather=True)
        except UsageError as error:
            notes = (f"around every shifted layer, since {error}",)
    layers = tuple(name for name, module in network.named_modules() if isinstance(module, HetConv2d))
    return Prepared(replace_layers_(network, form), folding, notes, layers)


def replace_layers_(network: nn.Module, form: AnyForm) -> nn.Module:
    """Put each HetConv layer into a form, in place; a layer used in several places stays one."""
    if isinstance(network, HetConv2d):
        return in_form(network, form)
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for key, child in parent._modules.items():
            if isinstance(child, HetConv2d):
                parent._modules[key] = made[child] if child in made else in_form(child, form)
                made[child] = parent._modules[key]  # type: ignore[assignment]
    return network
