"""A captured module as a module again: the graph on packed weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule
from torch.fx.node import map_arg

from hetconv.deployment.signature import Signature
from hetconv.deployment.steps import Steps, steps_of
from hetconv.errors import UsageError
from hetconv.graph.captured import Captured
from hetconv.ops.native_network import Network
from hetconv.pattern import HetPattern


@dataclass(frozen=True)
class Constant:
    """A tensor of the graph: its name, and of which layer it is the packed weights, if it is such."""

    name: str
    pattern: HetPattern | None


class DeployedPart(nn.Module):
    """A captured graph for inference on CPUs.

    Attributes:
        names: where it stands in the network; one empty name for the whole of it.
        constants: of the graph's buffers c0, c1, …
        kept: attributes of the module in whose place it is.
        planned: whether the graph is one native call; if not, it is one call after another. Under torch.compile it
            always is the latter.

    Raises:
        UsageError: an input is not as the signature says, or wants gradients; or it is planned, and has calls that no
            native network has.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        signature: Signature,
        constants: tuple[Constant, ...],
        values: Sequence[Tensor],
        graph: Graph,
        planned: bool = False,
    ) -> None:
        super().__init__()
        self.names, self.signature, self.constants = names, signature, constants
        self.graph = _module_of(graph, values)
        self.kept: dict[str, Any] = {}
        self.planned = planned
        self._call: OneCall | None = None
        if planned:
            self._plan()
        super().train(False)

    def steps(self) -> Steps:
        """What one native call of the graph does."""
        tensors = {constant_target(number): self.tensor(number) for number in range(len(self.constants))}
        packed = {constant_target(n): one.pattern for n, one in enumerate(self.constants) if one.pattern is not None}
        spec = self.signature.tensors[0] if len(self.signature.tensors) == 1 else None
        channels = spec.channels if spec is not None and spec.dtype == "float32" else None
        return steps_of(Captured(self.graph.graph, tensors, packed), channels)

    def _plan(self) -> None:
        steps = self.steps()
        if steps.refused:
            raise UsageError(f"it is not one native call: {steps.refused[0][0]}: {steps.refused[0][1]}")
        self._call = OneCall(steps)

    @classmethod
    def of(cls, names: tuple[str, ...], signature: Signature, captured: Captured) -> Self:
        """The part of a graph whose constants still have the original's names; takes the graph over. Not planned."""
        targets = {name: constant_target(number) for number, name in enumerate(captured.constants)}
        for node in captured.graph.nodes:
            if node.op == "get_attr":
                node.target = targets[node.target]
        constants = tuple(Constant(name, captured.packed.get(name)) for name in captured.constants)
        return cls(names, signature, constants, list(captured.constants.values()), captured.graph)

    def keep_attributes(self, original: nn.Module) -> None:
        """Have the numbers and texts that the module in this place had: its network's code may read them."""
        kept = {
            key: value
            for key, value in vars(original).items()
            if isinstance(value, int | float | str | tuple) and not key.startswith("_") and not hasattr(self, key)
        }
        self._keep(kept)

    def _keep(self, attributes: dict[str, Any]) -> None:
        self.kept = attributes
        for key, value in attributes.items():
            setattr(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: natural weights, which are packed there, and the graph as names and numbers."""
        from hetconv.deployment.saved_part import load_part, save_part

        return _restored, (load_part, *save_part(self), self.kept)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        values = [self.tensor(number).clone() for number in range(len(self.constants))]
        copied = type(self)(
            self.names, self.signature, self.constants, values, copy.deepcopy(self.graph.graph), self.planned
        )
        copied._keep(self.kept)
        return copied

    def make_outputs_contiguous(self) -> None:
        """Give outputs in PyTorch's usual layout, for code that takes no other."""
        graph, output = self.graph.graph, self.graph.graph.output_node()
        with graph.inserting_before(output):
            output.args = map_arg(output.args, lambda node: graph.call_method("contiguous", (node,)))
        self.graph.recompile()
        if self.planned:
            self._plan()

    def plan(self, inputs: Sequence[Tensor]) -> str | None:
        """Run as one native call from now on, or say why not: these inputs must be some that it takes.

        Raises:
            UsageError: a step is none that the native network computes.
        """
        self._plan()
        assert self._call is not None
        reason = self._call.why_not(inputs[0])
        self.planned = reason is None
        if reason is not None:
            self._call = None
        return reason

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        tensors = self.signature.tensors_of(args, kwargs)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise UsageError("a deployed module has no gradients; call it under torch.no_grad(), or train the original")
        if torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self.run(tensors)
        return self.run(tensors)

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """The graph, of inputs that are as the signature says."""
        if self._call is not None and not torch.compiler.is_compiling():
            y = self._call(tensors[0])
            if y is not None:
                return y
        return self.graph(*tensors)

    def tensor(self, number: int) -> Tensor:
        """The number-th constant, as the graph reads it."""
        return self.graph.get_buffer(constant_target(number))

    def extra_repr(self) -> str:
        calls = sum(node.op in ("call_function", "call_method") for node in self.graph.graph.nodes)
        return f"{calls} calls" + (" as one" if self.planned else "")


class OneCall:
    """A graph as one native call."""

    def __init__(self, steps: Steps) -> None:
        self.flat, self.contiguous = steps.flat, steps.contiguous
        self.network = Network(steps.in_channels, steps.steps)

    def why_not(self, x: Tensor) -> str | None:
        """Why the native network does not take these images; None if it does."""
        try:
            self.network(x)
        except UsageError as error:
            return str(error)
        return None

    def __call__(self, x: Tensor) -> Tensor | None:
        """None where the native network does not take these images; the graph itself may, or says why not."""
        try:
            y = self.network(x.detach())
        except UsageError:
            return None
        if self.flat:
            return y.flatten(1)
        return y.contiguous() if self.contiguous else y


def _restored(load_part: Callable[..., DeployedPart], saved: Any, tensors: Any, kept: dict[str, Any]) -> DeployedPart:
    with torch.inference_mode(False), torch.no_grad():
        part = load_part(saved, tensors.__getitem__)
    part._keep(kept)
    return part


def constant_target(number: int) -> str:
    """The number-th constant's name in a graph."""
    return f"c{number}"


def _module_of(graph: Graph, values: Sequence[Tensor]) -> GraphModule:
    root = nn.Module()
    for number, value in enumerate(values):
        root.register_buffer(constant_target(number), value.detach())
    for node in graph.nodes:
        node.meta = {}
    module = GraphModule(root, graph, "DeployedGraph")
    for number, value in enumerate(values):
        module.register_buffer(constant_target(number), value.detach(), persistent=False)
    return module.eval()
