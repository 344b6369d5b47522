"""Moving a whole network between the two arrangements."""

from __future__ import annotations

import contextlib
from typing import Any

from torch import Tensor, nn

from hetconv.errors import HetconvError, UsageError
from hetconv.graph.equality import other_batch, reference, run
from hetconv.graph.module_graph import Traced, capture
from hetconv.layout.flow import Flow
from hetconv.layout.rewrite import Gather, gathered, gathers_of, permutations_of, permute, why_not
from hetconv.layout.rules import Rules
from hetconv.layout.solve import Orders
from hetconv.nn import HetConv2d
from hetconv.pattern import ARRANGEMENTS, Arrangement
from hetconv.wrappers import copied

GATHER = "gather=True allows gathering channels there"


def relayout(
    model: nn.Module, to: Arrangement, *, gather: bool = False, example: Tensor | tuple[Any, ...] | None = None
) -> nn.Module:
    """A copy of a network with all its HetConv layers in one arrangement, which computes exactly the same.

    Weights are permuted, and nothing else: each layer finds its parts where the wanted arrangement has them, and what
    lies between (batch norm, activations, pooling, additions, concatenations, depthwise convolutions, gates)
    is permuted along; convolutions and linear layers absorb the rest. The network's own input and output keep
    their order. Sums are added up in another order, so floating-point outputs differ by rounding.

    The model is captured by torch.fx, in training and in evaluation mode; it is left as it was. The copy is of the
    model's own class, with parameters of the same names and shapes. An optimizer's state is not moved.

    Args:
        to: "blocked", which grouped convolutions compute, or "shifted", the paper's.
        gather: where permuting weights is not enough, gather channels (`torch.index_select`) instead of refusing.
            What needs that comes back as a torch.fx.GraphModule, captured in the mode that the model is in; it writes
            to none of its tensors in place.
        example: a batch, or the tuple of the model's arguments: the copy is compared with the model on it and on
            another batch size, in evaluation mode.

    Raises:
        UsageError: the model cannot be captured, or a tensor has to keep its order where a layer needs another, or
            where gathering is needed the model changes tensors in place that it reads under another name; the message
            names the place and the way out.
        HetconvError: the copy computes something else on the example.
    """
    moved = Relayout(model, to).result(gather)
    if example is not None:
        _check(model, moved, (example,) if isinstance(example, Tensor) else example)
    return moved


def _check(model: nn.Module, moved: nn.Module, example: tuple[Any, ...]) -> None:
    original, copy = copied(model).eval(), copied(moved).eval()
    for args in (example, other_batch(example)):
        if args is not None:
            right = reference(original, args)
            error = right.error(run(copy, (args, {})))
            if error is None or not error <= right.budget:
                raise HetconvError(
                    f"{type(model).__name__}, moved, is off by {error} of {right.against}, allowed {right.budget:.2g}; "
                    f"please report the network"
                )


class Relayout:
    """The plan of a move: which weights change, and where channels would have to be gathered.

    Raises:
        UsageError: as `relayout`, but for gathers, which are in `gathers`.
    """

    def __init__(self, model: nn.Module, to: Arrangement) -> None:
        if to not in ARRANGEMENTS:
            raise UsageError(f"to={to!r} must be one of {', '.join(ARRANGEMENTS)}")
        self.to = to
        self.model = copied(model)
        self.flow = Flow(self.model)
        self.gathers: tuple[Gather, ...] = ()
        if not self._has_work():
            return
        self.graphs = self._capture(model.training)
        self.orders = Orders(self.flow, to)
        self.gathers = gathers_of(self.flow, self.orders)
        self.permutations = permutations_of(self.flow, self.orders)
        reason = self._unreached() or why_not(self.flow, self.permutations, self.orders.moved)
        if reason is not None:
            raise UsageError(f"cannot move {type(model).__name__} to {to}: {reason}")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why channels would have to be gathered, each place once."""
        return tuple(dict.fromkeys(gather.why for gather in self.gathers))

    def result(self, gather: bool) -> nn.Module:
        """The moved copy; to be called once."""
        if self.gathers and not gather:
            reasons = self.reasons
            more = f" (and {len(reasons) - 1} more places)" if len(reasons) > 1 else ""
            raise UsageError(f"cannot move {type(self.model).__name__} to {self.to}: {reasons[0]}{more}; {GATHER}")
        if not self._has_work():
            return self.model
        permute(self.flow, self.permutations, self.orders, self.to)
        if not self.gathers:
            return self.model
        return gathered(self.model, self.graphs[0], self.gathers, number=0).train(self.model.training)

    def _has_work(self) -> bool:
        layers = (module for module in self.flow.modules.values() if isinstance(module, HetConv2d))
        return any(layer.arrangement != self.to for layer in layers)

    def _capture(self, training: bool) -> list[Traced]:
        """The graph in the model's own mode, then that of the other mode where it can be captured.

        A part of the network that no graph reaches is found by `_unreached`.
        """
        graphs = []
        modes = {module: module.training for module in self.model.modules()}
        try:
            graphs.append(capture(self.model))
            with contextlib.suppress(UsageError):
                graphs.append(capture(self.model.train(not training)))
        finally:
            for module, mode in modes.items():
                module.training = mode
        for traced in graphs:
            Rules(self.flow, traced.graph).run()
        return graphs

    def _unreached(self) -> str | None:
        changes = bool(self.permutations or self.orders.moved)
        for name, module in self.flow.modules.items():
            layer = module if isinstance(module, HetConv2d) and module.arrangement != self.to else None
            if module in self.flow.reached:
                if layer is not None and layer.p > 1 and layer not in self.flow.het:
                    return f"{name} reads something else than a batch of images"
            elif (changes or layer is not None) and next(module.parameters(recurse=False), None) is not None:
                what = name if name else "the model itself"
                return (
                    f"{what} has parameters, but is not reached by the forward pass: what its channels mean is unknown"
                )
        return None
