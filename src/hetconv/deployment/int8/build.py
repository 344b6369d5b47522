"""A network in 8 bits: captured, folded, its ranges observed, the choice of ranges with the least error taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from hetconv.deployment import example_calls
from hetconv.deployment.deploy_report import Int8Choice
from hetconv.deployment.graph_convolutions import Site, find_sites
from hetconv.deployment.int8.lower import Int8Lowering, Layers, chain_nodes, find_layers
from hetconv.deployment.int8.module import Int8Network
from hetconv.deployment.int8.ranges import METHODS, Method, Observed, affine_of, observe
from hetconv.deployment.linear import make_convolutions
from hetconv.deployment.prepared_graph import captured_values
from hetconv.errors import HetconvError, UsageError
from hetconv.graph.captured import Captured, evaluate
from hetconv.graph.fold_plain_graph import fold_plain_graph
from hetconv.graph.shapes import find_shapes, shapes_of
from hetconv.graph.simplify import fold_dimensions
from hetconv.graph.tracing import CaptureError
from hetconv.ops.network_steps import Affine

BATCH = 32
MEASURED = 128
"""Calibration images on which the error of each choice is measured."""
LARGEST_ERROR = 0.5
"""Of the outputs, relative to their own size: more is no rounding."""


class NotInt8Error(UsageError):
    """A network cannot run in 8 bits as a whole; the message names the operation and the reason."""


@dataclass(frozen=True)
class Built:
    """A network in 8 bits, and how it came about; what stays in float32, and why."""

    network: Int8Network
    in_float32: Mapping[str, str]
    sites: tuple[Site, ...]
    choices: tuple[Int8Choice, ...]
    notes: tuple[str, ...]
    images: int
    float32_bytes: int
    allowed: float = LARGEST_ERROR


def build(model: nn.Module, args: tuple[Any, ...], calibration: Tensor | None) -> Built:
    """The network of a model in evaluation mode.

    Raises:
        UsageError: the calibration images are none that the model takes, a value is not finite on them, or the model
            has an operation that the native network does not have.
        HetconvError: 8 bits lose too much.
    """
    example = _example(args)
    batches = _batches(example, calibration)
    captured, sites = _graph(model, args)
    layers = find_layers(captured, sites)
    observed = observe(captured, _watched(captured, layers), batches)
    made = Choices(captured, layers, observed, batches)
    for name in METHODS:
        made.add(name, corrected=True, first_layer=False)
    made.add(made.best.ranges, corrected=False, first_layer=False)
    made.add(made.best.ranges, corrected=made.best.corrected, first_layer=True)
    best = made.best
    if not best.error <= LARGEST_ERROR:
        raise HetconvError(
            f"8 bits change the outputs on the calibration images by {best.error:.0%} of their size, whichever ranges "
            f"are taken; deploy with precision='float32'"
        )
    notes = tuple(
        f"{node.name} is constant on the calibration images" for node in observed if observed[node].is_constant
    )
    in_float32, network = made.kept
    size = sum(4 * (fused.spatial.numel() + fused.pointwise.numel()) for fused in layers.in_int8.values())
    return Built(network, in_float32, tuple(sites), tuple(made.choices), notes, sum(map(len, batches)), size)


def _graph(model: nn.Module, args: tuple[Any, ...]) -> tuple[Captured, list[Site]]:
    signature = example_calls.signatures(model, args).get(model)
    if not args or not hasattr(signature, "structure"):
        raise NotInt8Error(f"it cannot be captured whole: {signature}")
    try:
        captured = captured_values(model, signature, whole=True)  # type: ignore[arg-type]
        find_shapes(captured, list(args))
    except CaptureError as error:
        raise NotInt8Error(f"it cannot be captured whole: {error}") from error
    found = ((node, shapes_of(node)) for node in captured.graph.nodes)
    fold_dimensions(captured, {node: len(shapes.example) for node, shapes in found if shapes is not None})
    norms = fold_plain_graph(captured)
    make_convolutions(captured, dimensions=(4,))
    return captured, find_sites(captured, norms)


def _example(args: tuple[Any, ...]) -> Tensor:
    if len(args) != 1 or not isinstance(args[0], Tensor) or args[0].dim() != 4 or not args[0].is_floating_point():
        raise UsageError("precision='int8' is for networks that take one batch of images (B, C, H, W)")
    return args[0]


def _batches(example: Tensor, calibration: Any) -> list[Tensor]:
    if calibration is None:
        raise UsageError("precision='int8' needs calibration=images, some hundred as the network gets them")
    if not isinstance(calibration, Tensor) or not calibration.is_floating_point() or calibration.dim() != 4:
        got = (
            f"{tuple(calibration.shape)} of {calibration.dtype}"
            if isinstance(calibration, Tensor)
            else type(calibration).__name__
        )
        raise UsageError(f"calibration={got} must be images (n, C, H, W) in floating point")
    if len(calibration) == 0 or calibration.shape[1:] != example.shape[1:]:
        raise UsageError(
            f"calibration has images {tuple(calibration.shape)}; they must be n ≥ 1 of the example's size "
            f"{tuple(example.shape[1:])}"
        )
    if not bool(torch.isfinite(calibration).all()):
        raise UsageError("calibration has NaN or infinity in it")
    return [batch.detach().cpu().float() for batch in calibration.split(BATCH)]


def _watched(captured: Captured, layers: Layers) -> list[Node]:
    """The values that may be u8: all floating ones but weights and what is inside of a layer."""
    inner = {node for fused in layers.in_int8.values() for node in chain_nodes(fused)}
    found = []
    for node in captured.graph.nodes:
        shapes = shapes_of(node)
        is_value = node.op in ("placeholder", "call_function", "call_method") and node not in inner
        if is_value and shapes is not None and shapes.dtype == torch.float32 and len(shapes.example) in (2, 4):
            found.append(node)
    return found


class Choices:
    """Networks with one or the other choice of ranges: the error of each, and the best one."""

    def __init__(
        self, captured: Captured, layers: Layers, observed: Mapping[Node, Observed],
        batches: Sequence[Tensor],
    ) -> None:  # fmt: skip
        self.captured, self.layers, self.observed = captured, layers, observed
        self.images = torch.cat(list(batches))[:MEASURED]
        with torch.no_grad():
            self.right = evaluate(captured, [self.images])
        self.choices: list[Int8Choice] = []
        self.kept: tuple[dict[str, str], Int8Network]

    def add(self, ranges: str, corrected: bool, first_layer: bool) -> None:
        method = METHODS[ranges]
        channels = int(self.images.shape[1])
        observed = self.observed if corrected else None
        lowering = Int8Lowering(self.captured, channels, self.layers, self._affines(method), observed, first_layer)
        found = lowering.run()
        if found.refused:
            raise NotInt8Error(": ".join(found.refused[0]))
        if lowering.in_int8 == 0:
            raise NotInt8Error("no layer of it has a form of 8 bits")
        network = Int8Network(channels, found.steps, found.flat, self._only_size())
        error = float((network(self.images).double() - self.right.double()).norm() / self.right.double().norm())
        self.choices.append(Int8Choice(ranges, corrected, first_layer, error))
        if self.best is self.choices[-1]:
            self.kept = lowering.in_float32, network

    @property
    def best(self) -> Int8Choice:
        return Int8Choice.best(self.choices)

    def _affines(self, method: Method) -> dict[Node, Affine]:
        return {
            node: affine_of(observed.low, observed.high) if observed.is_constant else affine_of(*method(observed))
            for node, observed in self.observed.items()
        }

    def _only_size(self) -> tuple[int, int] | None:
        """The images' size where the graph takes no other."""
        output = shapes_of(self.captured.output.args[0])
        if output is None or output.others[1] is None:
            return int(self.images.shape[2]), int(self.images.shape[3])
        return None
