"""Convolutions of one value whose results are added: one convolution computes the same, since all of them are linear.

Blocks of RepVGG and MobileOne are trained so. Batch norms of that value, and convolutions of 1×1 beside one of K×K, are
joined too. A HetConv layer stays one, since its filters have the centre taps of all channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.graph.calls import Held, arguments, called, module_of, operation
from hetconv.graph.captured import Captured
from hetconv.graph.folding import Statistics, why_not_statistics
from hetconv.graph.shapes import shapes_of
from hetconv.ops import het_conv2d
from hetconv.ops.arguments import pattern_of
from hetconv.ops.weights import from_dense_weight, to_dense_weight
from hetconv.pattern import HetPattern


@dataclass(frozen=True, eq=False)
class Branch:
    """A convolution of a value, in float64; or a batch norm as a depthwise one of 1×1.

    Attributes:
        node: the call.
        weight: (N, M/groups, K, K), dense.
        pattern: of a HetConv layer.
    """

    node: Node
    value: Node
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    pattern: HetPattern | None

    @property
    def taps(self) -> int:
        return self.weight.shape[2] * self.weight.shape[3]

    @property
    def first_pixel(self) -> tuple[int, ...]:
        """Where the centre tap of the first output lies in the input."""
        sizes = zip(self.weight.shape[2:], self.padding, self.dilation, strict=True)
        return tuple(dilation * (kernel // 2) - padding for kernel, padding, dilation in sizes)


def join_parallel(captured: Captured) -> dict[str, str]:
    """Replace sums of such convolutions, whose shapes must be known; outputs differ by rounding only.

    Returns:
        The modules whose calls are gone, each with the module whose convolution has become both.
    """
    joined: dict[str, str] = {}
    for node in list(captured.graph.nodes):
        if called(node) in ("add", "add_") and len(node.args) == 2 and not node.kwargs:
            operands = [operand for operand in node.args if operand not in (0, 0.0)]  # sums may begin with 0
            branches = [branch for operand in operands if (branch := _branch(captured, operand)) is not None]
            if len(operands) == len(branches) == 1:
                node.replace_all_uses_with(branches[0].node)
                captured.graph.erase_node(node)
            if len(branches) < 2 or operands[0] is operands[1]:
                continue
            one, other = sorted(branches, key=lambda branch: (-branch.taps, branch.groups))
            weight = _sum(one, other)
            if weight is not None:
                _replace(captured, node, one, weight, one.bias + other.bias)
                joined[module_of(other.node)] = module_of(one.node)
    captured.drop_unused()
    return joined


def _branch(captured: Captured, operand: Any) -> Branch | None:
    """The branch that gives an operand, if nothing else reads that."""
    if not isinstance(operand, Node) or len(operand.users) != 1:
        return None
    if operand.target in (functional.conv2d, het_conv2d):
        return _convolution(captured, operand)
    return _norm(captured, operand) if called(operand) == "batch_norm" else None


def _convolution(captured: Captured, node: Node) -> Branch | None:
    given = arguments(node)
    is_het = node.target is het_conv2d
    names = ("weight_spatial", "weight_pointwise") if is_het else ("weight",)
    weights = [captured.constant(given[name]) for name in names]
    bias = captured.constant(given["bias"])
    pairs = [_pair(given[name]) for name in ("stride", "padding", "dilation")]
    if None in weights or None in pairs or (bias is None and given["bias"] is not None):
        return None
    pattern = None
    weight: Tensor = weights[0]  # type: ignore[assignment]
    if is_het:
        try:
            pattern = pattern_of(weight.shape, weights[1].shape, given["arrangement"])  # type: ignore[union-attr]
        except UsageError:
            return None
        weight = to_dense_weight(weight, weights[1], pattern)  # type: ignore[arg-type]
    stride, padding, dilation = pairs
    constant = weight.new_zeros(len(weight)) if bias is None else bias
    value = given["x" if is_het else "input"]
    return Branch(
        node, value, weight.double(), constant.double(), stride, padding, dilation,  # type: ignore[arg-type]
        1 if is_het else given["groups"], pattern,
    )  # fmt: skip


def _norm(captured: Captured, node: Node) -> Branch | None:
    norm = operation(node, {})
    value, shapes = node.args[0], shapes_of(node)
    images = shapes is not None and len(shapes.example) == 4 and shapes.dtype == torch.float32
    if norm is None or not isinstance(value, Node) or not images or why_not_statistics(norm) is not None:
        return None
    if not isinstance(norm["running_mean"], Held):
        return None
    scale, shift = Statistics.of(norm, captured.constants.__getitem__).affine()
    ones = (1, 1)
    return Branch(node, value, scale[:, None, None, None], shift, ones, (0, 0), ones, len(scale), None)


def _pair(given: Any) -> tuple[int, int] | None:
    """A stride, padding or dilation; None for a padding in words."""
    if isinstance(given, int):
        return given, given
    if isinstance(given, list | tuple) and all(isinstance(one, int) for one in given):
        return (given[0], given[-1])
    return None


def _sum(one: Branch, other: Branch) -> Tensor | None:
    """The weight of the one convolution, in the groups of the first; None if there is no such.

    The first has as many taps as the other, or more.
    """
    same_place = one.value is other.value and one.stride == other.stride and one.first_pixel == other.first_pixel
    odd = all(size % 2 for branch in (one, other) for size in branch.weight.shape[2:])
    if not same_place or not odd or one.weight.shape[0] != other.weight.shape[0]:
        return None
    if other.taps > 1 and (one.dilation != other.dilation or one.pattern != other.pattern):
        return None
    if one.taps == 1 and one.pattern != other.pattern:
        return None
    added = _in_groups(other, one.groups)
    if added is None or added.shape[1] != one.weight.shape[1]:
        return None
    margins = [(big - small) // 2 for big, small in zip(one.weight.shape[2:], added.shape[2:], strict=True)]
    if min(margins) < 0:
        return None
    height, width = margins
    return one.weight + functional.pad(added, (width, width, height, height))


def _in_groups(branch: Branch, groups: int) -> Tensor | None:
    """A branch's weight in fewer groups: what its filters did not read has weights of zero."""
    if branch.groups == groups:
        return branch.weight
    if branch.groups % groups:
        return None
    filters, channels = branch.weight.shape[:2]
    apart = branch.groups // groups
    wide = branch.weight.new_zeros(filters, channels * apart, *branch.weight.shape[2:])
    for number in range(filters):
        start = number * branch.groups // filters % apart * channels
        wide[number, start : start + channels] = branch.weight[number]
    return wide


def _replace(captured: Captured, add: Node, branch: Branch, weight: Tensor, bias: Tensor) -> None:
    pattern = branch.pattern
    names = ("weight_spatial", "weight_pointwise") if pattern is not None else ("weight",)
    weights = from_dense_weight(weight, pattern) if pattern is not None else (weight,)
    graph, module = captured.graph, module_of(branch.node)
    with graph.inserting_before(add):
        held = {
            name: graph.get_attr(captured.add_constant(f"{module}.{name}.joined".lstrip("."), tensor.float()))
            for name, tensor in (*zip(names, weights, strict=True), ("bias", bias))
        }
        places = {"stride": branch.stride, "padding": branch.padding, "dilation": branch.dilation}
        if pattern is None:
            places |= {"groups": branch.groups}  # type: ignore[dict-item]
            made = graph.call_function(functional.conv2d, (branch.value,), {**held, **places})
        else:
            arrangement = {"arrangement": pattern.arrangement}
            made = graph.call_function(het_conv2d, (branch.value,), {**held, **places, **arrangement})
    made.meta = dict(add.meta)
    if "nn_module_stack" in branch.node.meta:
        made.meta["nn_module_stack"] = branch.node.meta["nn_module_stack"]
    add.replace_all_uses_with(made)
    graph.erase_node(add)
