"""Batch norms of a network folded into its convolutions and linear layers, for export."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from hetconv.errors import UsageError
from hetconv.foreign import foreign
from hetconv.graph import folding
from hetconv.graph.calls import arguments, set_arguments
from hetconv.graph.module_graph import Traced, capture

NORMS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Folding:
    """Which batch norms were folded, and why the others were not, as (name, reason)."""

    folded: tuple[str, ...]
    left: tuple[tuple[str, str], ...]


def fold_module_graph(model: nn.Module, example: Tensor) -> tuple[nn.Module, Folding]:
    """The model with its batch norms folded where they can be; it must be in evaluation mode, and is used up.

    Outputs differ by rounding only. Where a batch norm or the layer before it is called by function, as models of other
    libraries do, the model is a torch.fx.GraphModule then. What torch.fx cannot capture keeps all of its batch norms.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
    if not norms:
        return model, Folding((), ())
    try:
        graph = _ModuleGraph(model, capture(model), example)
    except UsageError as error:
        return model, Folding((), tuple((name, str(error)) for name in norms))
    reasons: dict[str, str | None] = dict.fromkeys(norms, "it is not called")
    outcomes = sorted(folding.fold_batch_norms(graph), key=lambda outcome: outcome.reason is not None)
    reasons |= {outcome.name: outcome.reason for outcome in outcomes}
    folded = tuple(name for name in norms if reasons[name] is None)
    left = ((name, reason) for name in norms if (reason := reasons[name]) is not None)
    return graph.result(), Folding(folded, tuple(left))


class _ModuleGraph(folding.FoldableGraph):
    """A model whose layers get other weights, and whose batch norms go out of the model, or else out of its graph."""

    def __init__(self, model: nn.Module, traced: Traced, example: Tensor) -> None:
        self.model, self.traced, self.graph = model, traced, traced.graph
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.dropped: list[fx.Node] = []
        self.added: list[fx.Node] = []
        with torch.no_grad(), foreign("its captured graph does not run"):
            ShapeProp(fx.GraphModule(model, self.graph)).propagate(example.clone())

    def tensor(self, name: str) -> Tensor:
        holder, _, key = name.rpartition(".")
        return getattr(self.model.get_submodule(holder), key)  # type: ignore[no-any-return]

    def rank(self, node: fx.Node) -> int | None:
        found = node.meta.get("tensor_meta")
        return len(found.shape) if isinstance(found, TensorMetadata) else None

    def why_not_change(self, layer: fx.Node, norm: fx.Node) -> str | None:
        by_modules = layer.op == norm.op == "call_module" and len(self._uses_of(norm)) == 1
        return None if by_modules else self.traced.why_no_values

    def put(self, node: fx.Node, tensors: dict[str, Tensor]) -> None:
        if node.op == "call_module":
            for argument, value in tensors.items():
                setattr(self.modules[str(node.target)], argument, nn.Parameter(value))
            return
        given = arguments(node)
        for argument, value in tensors.items():
            name = f"_folded_{len(self.added)}"
            self.model.register_parameter(name, nn.Parameter(value))
            with self.graph.inserting_before(node):
                given[argument] = self.graph.create_node("get_attr", name)
            self.added.append(given[argument])
        set_arguments(node, given)

    def drop(self, norm: fx.Node) -> None:
        norm.replace_all_uses_with(norm.all_input_nodes[0])
        self.graph.erase_node(norm)
        self.dropped.append(norm)

    def _uses_of(self, norm: fx.Node) -> list[fx.Node]:
        """Calls of a batch norm's module, and reads of its tensors."""
        own = self.modules[str(norm.target)]
        return [node for node in self.graph.nodes if self._used_by(node) is own]

    def _used_by(self, node: fx.Node) -> nn.Module | None:
        if node.op == "get_attr":
            return self.modules[str(node.target).rpartition(".")[0]]
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def result(self) -> nn.Module:
        """The model itself where all that changed are modules; else its graph."""
        if self.added or any(node.op == "call_function" or self._uses_of(node) for node in self.dropped):
            return self.traced.module(self.model).eval()
        replaced = {self.modules[str(node.target)] for node in self.dropped}
        for parent in list(self.model.modules()):
            for key, child in parent._modules.items():
                if child in replaced:
                    parent._modules[key] = _stand_in(child)
        return self.model


def _stand_in(norm: nn.Module) -> nn.Identity:
    """What gives back its input, with what the network's code may read of the batch norm: its `eps`, and the like.

    A weight that is None reads as None. Its tensors are not among that: where code reads one of them, the result is the
    graph.
    """
    found = nn.Identity()
    for key, value in vars(norm).items():
        if not key.startswith("_"):
            setattr(found, key, value)
    for key, tensor in {**norm._parameters, **norm._buffers}.items():
        if tensor is None:
            setattr(found, key, None)
    found._modules.update(norm._modules)
    return found
