"""The steps of a native network as they are written, one after another, and what is known of the values before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hetconv.deployment.step_values import Batch, Extent, Known, NotAStepError
from hetconv.graph.captured import Captured
from hetconv.ops import network_steps as network
from hetconv.ops.network_steps import Affine, Step


class StepWriter:
    """What has been written of a graph's steps; all in float32.

    Attributes:
        known: what is known of each node's value: of images, sizes, or parts of them.
        same: nodes whose value is that of another node, under another name.
        real: values of u8 that were made float32, by their number.
    """

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.steps: list[Step] = []
        self.known: dict[Node, Any] = {}
        self.same: dict[Node, Node] = {}
        self.real: dict[int, Known] = {}

    def add(
        self, step: Step, channels: int | None, like: Known | None = None, one_pixel: bool = False,
        of: Affine | None = None,
    ) -> Known:  # fmt: skip
        self.steps.append(step)
        if like is None:
            return Known(len(self.steps), channels, False, one_pixel, of)
        one_pixel = one_pixel or like.flat or like.one_pixel
        return Known(len(self.steps), channels, like.flat, one_pixel, of, like.permuted)

    def value(self, node: Any) -> Known:
        """As it was computed, float32 or u8."""
        value = self.known.get(node) if isinstance(node, Node) else None
        if isinstance(value, Batch | Extent):
            raise NotAStepError("it computes with an image's size")
        if not isinstance(value, Known):
            raise NotAStepError(f"{node} is no value of the network's images")
        return value

    def float32(self, node: Any) -> Known:
        value = self.value(node)
        if value.of is not None and value.number not in self.real:
            step = network.dequantize(value.number, value.of)
            self.real[value.number] = self.add(step, value.channels)
        return value if value.of is None else replace(value, number=self.real[value.number].number, of=None)

    def preferred(self, node: Any) -> Known:
        """For steps that compute with float32 and u8 alike."""
        return self.value(node)

    def images(self, value: Known) -> Known:
        if value.flat:
            raise NotAStepError("its input is no batch of images")
        return value

    def constant(self, node: Any) -> Tensor:
        value = self.captured.constant(node)
        if value is None:
            raise NotAStepError(f"{node} is computed from the input")
        return value

    def bias(self, node: Any, channels: int) -> Tensor:
        return torch.zeros(channels) if node is None else self.constant(node)

    def is_alone(self, node: Any) -> bool:
        """Whether nothing but the node's one user reads its value, under no other name either."""
        while len(node.users) == 1 and node in self.same:
            node = self.same[node]
        return len(node.users) == 1

    def renamed(self, node: Node, source: Any, value: Known) -> Known:
        self.same[node] = source
        return value
