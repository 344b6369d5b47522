"""How a trained network bears changes of one layer at a time: what to leave whole, and what to take most from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from hetconv.cost import complexity
from hetconv.cost.complexity import evaluating
from hetconv.errors import HetconvError, UsageError
from hetconv.lab.compress.filters import check_share
from hetconv.lab.compress.probes import HetProbes, Prober, ShareProbes, check_layers, convolutions, fingerprint
from hetconv.lab.results import Probe, Sensitivity, SkippedProbe
from hetconv.lab.train import Data
from hetconv.lab.train.loop import EVALUATION_BATCH, evaluate

PARTS, SHARES = (2, 4, 8, 16), (0.25, 0.5, 0.75)
Kind = Literal["p", "share"]


@dataclass(frozen=True)
class Step:
    """One probe to be made, or the reason why it is not."""

    prober: Prober
    kind: Kind
    layer: str
    value: float
    reason: str | None


def keep_silent(_: Probe) -> None:
    """Where nobody waits for the probes."""


def sensitivity(
    model: nn.Module,
    data: Data,
    *,
    parts: tuple[int, ...] | None = None,
    shares: tuple[float, ...] | None = None,
    layers: tuple[str, ...] | None = None,
    told: Callable[[Probe], None] = keep_silent,
) -> Sensitivity:
    """Accuracy against P and against the share of filters removed, one layer at a time, without any training.

    Every probe changes one layer of a copy: the convolution becomes a HetConv layer of that P with what its pattern
    keeps of the weights, or it loses its filters of the smallest Σ|w| (Li et al., ICLR 2017, section 3.2), with their
    feature maps and what reads them. That the layer was changed, and that the network itself was not, is made sure of.

    Args:
        model: a trained classifier; left as it is.
        data: accuracy is that on its held-out split, which should not be the one that results are later reported on:
            `load_data(…, validation_images=…)`.
        parts, shares: values of P, and shares above 0 and below 1; either may be empty. None: `PARTS`, `SHARES`.
        layers: names of convolutions. None: every K×K convolution.
        told: called after each probe.

    A layer that does not take a value is skipped, and the record says why; but a value that is given must be one that
    every named layer takes, or where none is named, some layer.

    Raises:
        UsageError: a layer is unknown, a share is out of its range, a P does not divide a layer's channels.
        HetconvError: a probe changed nothing.
    """
    plan = plan_probes(model, data, parts=parts, shares=shares, layers=layers)
    before = fingerprint(model)
    unchanged = _measure(model, data)
    probes, skipped = [], []
    for step in plan:
        if step.reason is not None:
            skipped.append(SkippedProbe(step.layer, step.kind, step.value, step.reason))
            continue
        changed = step.prober.change(step.layer, step.value)
        probe = Probe(step.layer, step.kind, step.value, changed.changed, changed.of, *_measure(changed.model, data))
        probes.append(probe)
        told(probe)
    if fingerprint(model) != before:
        raise HetconvError("the network is not what it was before it was probed; its sensitivity is not known")
    return Sensitivity(*unchanged, data.test_images, tuple(probes), tuple(skipped))


def plan_probes(
    model: nn.Module,
    data: Data,
    *,
    parts: tuple[int, ...] | None = None,
    shares: tuple[float, ...] | None = None,
    layers: tuple[str, ...] | None = None,
) -> tuple[Step, ...]:
    """What `sensitivity` would do, which does not depend on the weights.

    Raises:
        UsageError: as `sensitivity`.
    """
    _check(parts or (), shares or ())
    names = convolutions(model) if layers is None else layers
    check_layers(model, names)
    probers: dict[Kind, tuple[Prober, tuple[float, ...]]] = {}
    if parts != ():
        probers["p"] = HetProbes(model), PARTS if parts is None else parts
    if shares != ():
        example = torch.randn(2, *data.input_size, generator=torch.Generator().manual_seed(0))
        probers["share"] = ShareProbes(model, example), SHARES if shares is None else shares
    if not probers or not names:
        raise UsageError("there is nothing to try: parts and shares are both empty, or there is no K×K convolution")
    steps: list[Step] = []
    for kind, (prober, values) in probers.items():
        reasons = {(name, value): prober.why_not(name, value) for name in names for value in values}
        if (parts if kind == "p" else shares) is not None:
            _check_taken(kind, reasons, by_all=layers is not None)
        steps += [Step(prober, kind, name, value, reason) for (name, value), reason in reasons.items()]
    return tuple(sorted(steps, key=lambda step: names.index(step.layer)))


def _check(parts: tuple[int, ...], shares: tuple[float, ...]) -> None:
    for name, values in (("parts", parts), ("shares", shares)):
        if len(set(values)) != len(values):
            raise UsageError(f"{name}={','.join(f'{value:g}' for value in values)!r} must name each only once")
    for p in parts:
        if p < 2:
            raise UsageError(f"p={p} must be at least 2: P=1 is the standard convolution that is there")
    for share in shares:
        check_share(share)


def _check_taken(kind: Kind, reasons: dict[tuple[str, float], str | None], by_all: bool) -> None:
    """Raises UsageError unless each value is taken by all layers, or by one at least."""
    for value in dict.fromkeys(value for _, value in reasons):
        found = {name: why for (name, tried), why in reasons.items() if tried == value}
        wrong = [(name, why) for name, why in found.items() if why is not None]
        if wrong and (by_all or len(wrong) == len(found)):
            name, why = wrong[0]
            raise UsageError(f"{kind}={value:g} cannot be tried on {name}: {why}")


def _measure(model: nn.Module, data: Data) -> tuple[float, float, int]:
    """Accuracy, loss and MACs, in evaluation mode."""
    with evaluating(model):
        loss, accuracy = evaluate(Accelerator(), model, data.test_loader(EVALUATION_BATCH))
    return accuracy, loss, complexity(model, data.input_size).macs
