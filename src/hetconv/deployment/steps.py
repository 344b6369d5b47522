"""A captured graph as the steps of one native network in float32; `int8.lower` writes some of them in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from hetconv.deployment.channel_steps import channel_shuffle, concatenate, permute, pieces, transpose
from hetconv.deployment.form_steps import flatten, layout, reshape, shape, squeeze, take, unsqueeze
from hetconv.deployment.image_steps import adaptive_pool, average_pool, max_pool, mean, pad, resize
from hetconv.deployment.joined_steps import JOININGS, join
from hetconv.deployment.layer_steps import batch_norm, convolution, layer_norm, packed_layer
from hetconv.deployment.step_values import Known, NotAStepError
from hetconv.deployment.step_writer import StepWriter
from hetconv.errors import UsageError
from hetconv.graph.calls import activation, called, is_batch_norm
from hetconv.graph.captured import Captured, call
from hetconv.graph.operations import ARITHMETIC, ELEMENTWISE
from hetconv.graph.tracing import reason_of
from hetconv.ops import network_steps as network
from hetconv.ops.network_steps import Step


@dataclass(frozen=True)
class Steps:
    """What a graph's one native call does.

    Attributes:
        flat: whether the output is (B, N) and not (B, N, H, W).
        contiguous: whether it is in PyTorch's usual layout.
        refused: calls that no step computes, with the reasons; then there is no such network.
    """

    in_channels: int
    steps: tuple[Step, ...]
    flat: bool
    contiguous: bool
    refused: tuple[tuple[str, str], ...]


_PER_PIXEL = ELEMENTWISE | ARITHMETIC | {"add_", "contiguous", "layer_norm", "permute"}
"""What is computed alike of images (B, C, H, W) and (B, H, W, C)."""
RESIZING = ("interpolate", "upsample")
OPERATIONS: dict[str, Callable[[Any, Node], Any]] = {
    "het_conv2d_packed": packed_layer,
    "conv2d": convolution,
    "max_pool2d": max_pool,
    "avg_pool2d": average_pool,
    "adaptive_avg_pool2d": adaptive_pool,
    "mean": mean,
    "flatten": flatten,
    "reshape": reshape,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    **dict.fromkeys(JOININGS, join),
    "permute": permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), transpose),
    "channel_shuffle": channel_shuffle,
    "layer_norm": layer_norm,
    **dict.fromkeys(RESIZING, resize),
    "getitem": take,
    "getattr": shape,
    "size": shape,
    "chunk": pieces,
    "split": pieces,
    "pad": pad,
    "cat": concatenate,
    "concat": concatenate,
    "contiguous": layout,
}
"""What writes the steps of each operation, and says what is known of its value then."""


class Lowering(StepWriter):
    """Walks over a graph and writes its steps, all of them in float32, by a table of operations."""

    operations = OPERATIONS

    def __init__(self, captured: Captured, channels: int) -> None:
        super().__init__(captured)
        self.channels = channels
        self.refused: list[tuple[str, str]] = []
        self.unknown: set[Node] = set()

    def run(self) -> Steps:
        flat = contiguous = False
        for node in self.captured.graph.nodes:
            if node.op == "placeholder":
                self.known[node] = Known(0, self.channels)
            elif node.op == "output":
                flat, contiguous = self._output(node)
            elif node.op != "get_attr":
                self._visit(node)
        return Steps(self.channels, tuple(self.steps), flat, contiguous, tuple(self.refused))

    def _visit(self, node: Node) -> None:
        if any(used in self.unknown for used in node.all_input_nodes):
            self.unknown.add(node)  # the reason is the other's
            return
        try:
            self.known[node] = self._computed(node)
        except (NotAStepError, UsageError) as error:
            self._refuse(node, str(error))
        except (TypeError, ValueError, LookupError, RuntimeError) as error:  # of arguments that no step has
            self._refuse(node, f"its arguments are none of the native network's: {reason_of(error)}")

    def _computed(self, node: Node) -> Any:
        given = [self.known[used] for used in node.all_input_nodes if used in self.known]
        if given and all(isinstance(one, int) for one in given):  # sizes
            return call(node, *map_arg((node.args, node.kwargs), self.known.__getitem__))
        orders = {one.permuted for one in given if isinstance(one, Known)}
        if orders <= {False}:
            return self._call(node)
        if called(node) not in _PER_PIXEL or len(orders) > 1:
            raise NotAStepError(f"{called(node)} of channels that are the last dimension is none of its operations")
        found = self._call(node)
        return found if called(node) == "permute" else replace(found, permuted=True)

    def _refuse(self, node: Node, reason: str) -> None:
        self.unknown.add(node)
        self.refused.append((node.name, reason))

    def _call(self, node: Node) -> Any:
        kind = activation(node)
        if kind is not None:
            return self._activation(node, kind)
        if is_batch_norm(node):
            return batch_norm(self, node)
        write = self.operations.get(called(node))
        if write is None:
            raise NotAStepError(f"{called(node)} is no operation of the native network")
        return write(self, node)

    def _output(self, node: Node) -> tuple[bool, bool]:
        last = node.args[0]
        if not isinstance(last, Node):
            self.refused.append(("output", "the network gives more than one tensor"))
        elif last not in self.unknown:
            value = self.known.get(last)
            if isinstance(value, Known) and value.permuted:
                self.refused.append(("output", "its channels are the last dimension"))
                return False, False
            if isinstance(value, Known) and value.of is not None:
                value = self.float32(last)
            if isinstance(value, Known) and value.number == len(self.steps) > 0:
                usual = called(last) == "contiguous" and "memory_format" not in last.kwargs
                return value.flat, usual
            self.refused.append(("output", "it is not what the last step computes"))
        return False, False

    def _activation(self, node: Node, kind: str) -> Known:
        source = node.args[0]
        value = self.float32(source)
        if value.number == len(self.steps) > 0 and self.is_alone(source):
            joined = network.with_activation(self.steps[-1], kind)
            if joined is not None:
                self.steps[-1] = joined
                return value
        one = torch.ones(1)
        return self.add(network.float_affine(value.number, one, torch.zeros(1), kind), value.channels, value)


def steps_of(captured: Captured, channels: int | None) -> Steps:
    """The steps of a graph of one batch of images with so many channels, and one tensor as output.

    The graph is as it runs: constants are packed where a layer of `captured.packed` reads them.
    """
    if len(captured.placeholders) != 1 or channels is None:
        return Steps(0, (), False, False, (("the call", "it takes something else than one batch of images"),))
    return Lowering(captured, channels).run()
