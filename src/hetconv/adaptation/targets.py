"""What a plan's times are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from hetconv.clock import LONGEST_SECONDS, ROUNDS, calmer_times, medians, times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.deployment.choose import Chooser, Work, form_times, int8_times
from hetconv.deployment.deploy import deploy, deploy_alike
from hetconv.deployment.standard_convolutions import works_of
from hetconv.errors import UsageError
from hetconv.records import Circumstances

Times = dict[str, dict[int, float]]
"""Milliseconds by layer and P; P=1 is the standard convolution."""


class Target(Protocol):
    """Where a network is to run."""

    def layer_times(self, model: nn.Module, example: Tensor, parts: Mapping[str, Sequence[int]]) -> Times:
        """Each layer with P=1 and with each of its other P, as it will run, all calls in one pass together.

        Layers that cannot run there as HetConv layers are not in the answer.
        """

    def prepare(self, model: nn.Module, example: Tensor) -> nn.Module:
        """The network as it will run."""

    def network_times(self, prepared: Mapping[str, nn.Module], example: Tensor) -> dict[str, float]:
        """Milliseconds of whole networks, measured in turns."""

    def circumstances(self) -> Circumstances | None:
        """Of the last measurement."""


class DeployTarget:
    """This machine's CPU, by `hetconv.deploy`."""

    precision = "float32"

    def __init__(self) -> None:
        self._found: dict[tuple[Work, tuple[int, ...]], dict[int, float]] = {}
        self._circumstances: Circumstances | None = None
        self._chooser = Chooser()

    def layer_times(self, model: nn.Module, example: Tensor, parts: Mapping[str, Sequence[int]]) -> Times:
        works = works_of(model, (example,))
        found: Times = {}
        for name, tried in parts.items():
            if name in works:
                per_call = [self._times(work, tuple(tried)) for work in works[name]]
                found[name] = {p: sum(times[p] for times in per_call) for p in (1, *tried)}
        return found

    def _times(self, work: Work, parts: tuple[int, ...]) -> dict[int, float]:
        """Each distinct layer is measured once."""
        if (work, parts) not in self._found:
            self._found[work, parts] = dict(zip((1, *parts), self._measured(work, (1, *parts)), strict=True))
        return self._found[work, parts]

    def _measured(self, work: Work, parts: tuple[int, ...]) -> tuple[float, ...]:
        """Milliseconds with each P, of which the first is 1."""
        forms = form_times(work, [replace(work.pattern, p=p) for p in parts])
        return min(forms.native_ms[0], forms.torch_ms), *forms.native_ms[1:]

    def prepare(self, model: nn.Module, example: Tensor) -> nn.Module:
        return deploy_alike(model, example, self._chooser)

    def network_times(self, prepared: Mapping[str, nn.Module], example: Tensor) -> dict[str, float]:
        found = calm_medians(prepared, example)
        threads = torch.get_num_threads()
        self._circumstances = circumstances(example.device, self.precision, "channels_last", example.shape[0], threads)
        return found

    def circumstances(self) -> Circumstances | None:
        return self._circumstances


class Int8Target(DeployTarget):
    """This machine's CPU, by `hetconv.deploy(…, precision="int8")`.

    Args:
        calibration: images that ranges are taken from.
    """

    precision = "int8"

    def __init__(self, calibration: Tensor) -> None:
        super().__init__()
        self.calibration = calibration

    def _measured(self, work: Work, parts: tuple[int, ...]) -> tuple[float, ...]:
        return int8_times(work, [replace(work.pattern, p=p) for p in parts])

    def prepare(self, model: nn.Module, example: Tensor) -> nn.Module:
        return deploy(model, example, "int8", self.calibration, timed=False)


def calm_medians(prepared: Mapping[str, nn.Module], example: Tensor) -> dict[str, float]:
    """Milliseconds of each network, measured in turns, and once more where the machine was busy."""
    x = example.contiguous(memory_format=torch.channels_last)
    timers = {name: wall(network, x) for name, network in prepared.items()}
    with torch.inference_mode():
        times, _ = calmer_times(partial(times_in_turns, timers, ROUNDS, longest_seconds=LONGEST_SECONDS))
    return medians(times)


TARGETS = ("deploy", "int8")
CALIBRATED = 512
"""Images that ranges are taken from, at most."""


def target_of(name: str, images: Tensor | Sequence[Tensor]) -> Target:
    """Raises UsageError for a target that is not known."""
    if name not in TARGETS:
        raise UsageError(f"target={name!r} must be one of {', '.join(TARGETS)}")
    if name == "deploy":
        return DeployTarget()
    every = images if isinstance(images, Tensor) else torch.cat(list(images))
    return Int8Target(every[:CALIBRATED])
