"""A model as a graph of its modules and of the functions between them.

What comes of it is trained on, switched between training and evaluation, and exported: plain calls would have one mode
for ever. Modules that torch.fx cannot follow, such as recurrent ones, are one node here.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import fx, nn

from hetconv.errors import UsageError
from hetconv.graph.calls import module_of
from hetconv.graph.tracing import CaptureError, ValueTracer, reason_of
from hetconv.graph.values import make_values
from hetconv.nn import HetConv2d

WAY_OUT = "make its forward traceable by torch.fx, or move the part of it that is"


class _Tracer(ValueTracer):
    """PyTorch's own modules and HetConv layers are nodes; everything else is traced into."""

    proxy_buffer_attributes = True  # else code would compute with buffers, and change them, while it is traced

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, HetConv2d) or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class Traced:
    """A model as a graph of its modules and of the functions between them.

    Attributes:
        why_no_values: what is written in place and read under another name, so that the graph must not be run with
            anything changed in it; None for a graph of values.
    """

    graph: fx.Graph
    why_no_values: str | None

    def module(self, model: nn.Module) -> fx.GraphModule:
        """The graph as a module on the model's own modules, which stop to write in place.

        Raises:
            UsageError: it is no graph of values.
        """
        if self.why_no_values is not None:
            raise UsageError(
                f"{type(model).__name__} cannot be run as a graph: {self.why_no_values}; write that part of it "
                f"without changing tensors in place"
            )
        found = fx.GraphModule(model, self.graph)
        for module in found.modules():
            if getattr(module, "inplace", False) is True:
                setattr(module, "inplace", False)  # noqa: B010  (no attribute of every module)
        return found


def capture(model: nn.Module) -> Traced:
    """The graph of the model in its present mode, as values where that can be.

    Raises:
        UsageError: it cannot be traced; the message says what stood in the way.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise UsageError(
            f"{type(model).__name__} cannot be captured by torch.fx ({reason_of(error)}); {WAY_OUT}"
        ) from error
    values = copy.deepcopy(graph)
    try:
        make_values(values, dict(model.named_modules(remove_duplicate=False)))
    except CaptureError as error:
        return Traced(graph, str(error))
    return Traced(values, None)


def place(node: fx.Node) -> str:
    """A node in words: a module's name, or the function and the module around it."""
    if node.op == "call_module":
        return str(node.target)
    if node.op == "placeholder":
        return f"the network's input {node.target}"
    if node.op == "output":
        return "the network's output"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    around = module_of(node)
    return f"{name} in {around}" if around else str(name)
