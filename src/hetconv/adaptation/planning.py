"""From a network and a budget to a plan: measured layers, exact choice, measured whole."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.knapsack import Option, choose
from hetconv.adaptation.losses import layer_losses
from hetconv.adaptation.plan import FORMAT, TOLERANCE, NotPlanned, Plan, PlannedLayer, Trial
from hetconv.adaptation.targets import Target, Times, target_of
from hetconv.convert import convert_, convertible
from hetconv.cost.circumstances import processor_name
from hetconv.errors import UsageError
from hetconv.pattern import USUAL_PARTS
from hetconv.wrappers import unwrap

TRIALS = 6
"""So many choices are measured as whole networks at most."""


def keep_silent(_: str) -> None:
    """Where nobody waits."""


def plan(
    model: nn.Module,
    example: Tensor,
    *,
    images: Tensor | Sequence[Tensor],
    speedup: float | None = None,
    budget_ms: float | None = None,
    target: str | Target = "deploy",
    parts: Sequence[int] = USUAL_PARTS,
    measured: Plan | None = None,
    told: Callable[[str], None] = keep_silent,
) -> Plan:
    """P for each layer of a trained network, so that it runs within a budget and loses least.

    Every layer is timed with every P as it will run; what it loses is found by least squares on images
    (`layer_losses`); the choice with the least sum of losses within the budget is exact. The network of that choice is
    then measured as a whole in turns with the original, and the choice repeated with what that says of the layers' sum,
    until the budget is met within 3 %. A layer that no P makes faster stays as it is.

    Args:
        model: a trained network; left as it is.
        example: a batch like those that it will run on, for the times.
        images: normalized inputs for the losses, some dozens at least; no labels.
        speedup: how many times faster than the original on the same target; or
        budget_ms: milliseconds for the example.
        target: this machine's CPU by `hetconv.deploy`, in float32 ("deploy") or in 8 bits ("int8", with ranges of the
            first 512 images); the original runs in the same.
        parts: the P to choose from.
        measured: an earlier plan of the same network for another budget, with the same example, target and parts: its
            layers' times and losses are taken, and whole networks alone are measured.
        told: called with what is being done.

    Returns:
        A plan, whose `is_met` says whether the budget is met.

    Raises:
        UsageError: not one budget but none or two; no layer of the model can be converted, or made faster; `measured`
            is of other layers, of another target, or of another number of images or threads or processor.
    """
    check_asked(speedup, budget_ms, parts)
    model = unwrap(model)
    place = target_of(target, images) if isinstance(target, str) else target
    if measured is None:
        layers, others = _layers(model, example, place, _name(target), parts, ImageBatches.of(images), told)
    else:
        _check_measured(measured, model, example, _name(target), parts)
        layers, others = measured.layers, measured.others
    search = _Search(
        model, example, place, {layer.name: layer.times_ms for layer in layers},
        {layer.name: {p: loss for p, loss in layer.losses.items() if p > 1} for layer in layers}, told,
    )  # fmt: skip
    best, is_met = search.run(speedup, budget_ms)
    asked = f"budget_ms={budget_ms:g}" if speedup is None else f"speedup={speedup:g}"
    budget = best.original_ms / speedup if budget_ms is None and speedup is not None else budget_ms
    assert budget is not None
    chosen = tuple(replace(layer, p=best.p_by_name.get(layer.name, 1)) for layer in layers)
    return Plan(
        FORMAT, _name(target), asked, budget, best.original_ms, best.measured_ms, is_met, chosen, others,
        tuple(search.trials), place.circumstances(),
    )  # fmt: skip


def _layers(
    model: nn.Module,
    example: Tensor,
    place: Target,
    target: str,
    parts: Sequence[int],
    images: ImageBatches,
    told: Callable[[str], None],
) -> tuple[tuple[PlannedLayer, ...], tuple[NotPlanned, ...]]:
    """Time and loss of each layer with each P, none chosen yet; and the convolutions that stay as they are."""
    options, others = _options(model, parts)
    told(f"timing {len(options)} layers")
    times = place.layer_times(model, example, options)
    others |= {name: f"it cannot run on {target} as a HetConv layer" for name in options if name not in times}
    faster = {name: tuple(p for p in options[name] if times[name][p] < times[name][1]) for name in times}
    others |= {name: "no P makes it faster" for name, kept in faster.items() if not kept}
    wanted = {name: kept for name, kept in faster.items() if kept}
    if not wanted:
        reasons = "; ".join(dict.fromkeys(others.values()))
        raise UsageError(f"no layer of {type(model).__name__} can be made faster: {reasons}")
    losses = layer_losses(model, wanted, images, lambda name: told(f"losses of {name}"))
    others |= {name: "the images do not reach it" for name in wanted if name not in losses}
    layers = tuple(
        PlannedLayer(
            name, _words(model, name), 1, {p: times[name][p] for p in (1, *losses[name])}, {1: 0.0, **losses[name]}
        )
        for name in losses
    )
    return layers, tuple(NotPlanned(name, reason) for name, reason in others.items())


def _check_measured(measured: Plan, model: nn.Module, example: Tensor, target: str, parts: Sequence[int]) -> None:
    """Raises UsageError where a plan's times and losses are not of this network's layers on this target."""
    if not isinstance(measured, Plan):
        raise UsageError(f"measured={measured!r} must be a plan; hetconv.Plan.load reads one from a file")
    if measured.target != target:
        raise UsageError(f"the measured plan is for {measured.target} and this one for {target}; measure anew")
    was = measured.circumstances
    if was is not None:
        then = {"images": was.batch_size, "threads": was.threads, "processor": was.processor}
        now = {"images": len(example), "threads": torch.get_num_threads(), "processor": processor_name()}
        for name in then:
            if then[name] != now[name]:
                raise UsageError(
                    f"the measured plan's times are with {name} {then[name]} and not with {now[name]}; measure anew"
                )
    modules = dict(model.named_modules())
    for layer in measured.layers:
        is_there = isinstance(modules.get(layer.name), nn.Conv2d) and _words(model, layer.name) == layer.layer
        if not is_there:
            raise UsageError(f"the measured plan has a layer {layer.name} ({layer.layer}) and the network has not")
        if not set(layer.losses) <= {1, *parts}:
            tried = ", ".join(map(str, layer.losses))
            raise UsageError(
                f"the measured plan has P of {tried} for {layer.name}; give the same parts, or measure anew"
            )


@dataclass
class _Search:
    """Choices of P, each measured as a whole network."""

    model: nn.Module
    example: Tensor
    target: Target
    times: Times
    losses: dict[str, dict[int, float]]
    told: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)

    def run(self, speedup: float | None, budget_ms: float | None) -> tuple[Trial, bool]:
        """The trial with the least loss within the budget, or the fastest one; and whether the budget is met."""
        original = self.target.prepare(self.model, self.example)
        before = self.target.network_times({"original": original}, self.example)["original"]
        budget = budget_ms if budget_ms is not None else before / (speedup or 1.0)
        slow, fast = (self._sum({}), before), None  # of a choice: the layers' sum, and the whole network measured
        wanted = budget - before + slow[0]  # of the sum
        while len(self.trials) < TRIALS:
            chosen = self._choose(wanted)
            fastest = chosen is None
            chosen = self._fastest() if chosen is None else chosen
            if any(trial.p_by_name == chosen for trial in self.trials):
                break
            trial = self._measure(original, chosen)
            self.trials.append(trial)
            relative = 1.0 if speedup is None else before / trial.original_ms  # the machine's drift hits both alike
            measured = trial.measured_ms * relative
            self.told(f"measured {trial.measured_ms:.3f} ms beside {trial.original_ms:.3f} ms of the original")
            is_last = fastest if measured > budget else not chosen  # no choice is faster, or slower
            if is_last or abs(measured / budget - 1) <= TOLERANCE:
                break
            if measured <= budget:
                fast = self._sum(chosen), measured
            else:
                slow = self._sum(chosen), measured
            wanted = budget - measured + self._sum(chosen) if fast is None else _between(fast, slow, budget)
        return self._best(speedup, budget_ms)

    def _best(self, speedup: float | None, budget_ms: float | None) -> tuple[Trial, bool]:
        def share(trial: Trial) -> float:
            return trial.measured_ms / (trial.original_ms / speedup if speedup is not None else budget_ms or 1.0)

        within = [trial for trial in self.trials if share(trial) <= 1 + TOLERANCE]
        if within:
            return min(within, key=lambda trial: (trial.loss, share(trial))), True
        fastest = self._fastest()
        if all(trial.p_by_name != fastest for trial in self.trials):
            original = self.target.prepare(self.model, self.example)
            self.trials.append(self._measure(original, fastest))
        best = min(self.trials, key=share)
        return best, share(best) <= 1 + TOLERANCE

    def _sum(self, chosen: Mapping[str, int]) -> float:
        return sum(times[chosen.get(name, 1)] for name, times in self.times.items())

    def _choose(self, budget: float) -> dict[str, int] | None:
        names = list(self.times)
        parts = [(1, *self.losses[name]) for name in names]
        options = [
            [Option(self.times[name][p], self.losses[name].get(p, 0.0)) for p in tried]
            for name, tried in zip(names, parts, strict=True)
        ]
        found = choose(options, budget)
        if found is None:
            return None
        return {n: tried[i] for n, tried, i in zip(names, parts, found, strict=True) if tried[i] > 1}

    def _fastest(self) -> dict[str, int]:
        return {name: min(self.losses[name], key=lambda p: self.times[name][p]) for name in self.times}

    def _measure(self, original: nn.Module, p_by_name: Mapping[str, int]) -> Trial:
        if not p_by_name:  # it is the original
            ms = self.target.network_times({"original": original}, self.example)["original"]
            return Trial({}, 0.0, ms, ms)
        network = copy.deepcopy(self.model)
        convert_(network, 1, p_by_name=p_by_name)
        prepared = {"original": original, "plan": self.target.prepare(network, self.example)}
        found = self.target.network_times(prepared, self.example)
        loss = sum(self.losses[name][p] for name, p in p_by_name.items())
        return Trial(dict(p_by_name), loss, found["original"], found["plan"])


def _between(fast: tuple[float, float], slow: tuple[float, float], budget: float) -> float:
    """The layers' sum at which a network would take the budget, on the line through two measured ones.

    A layer may take longer in its network than alone, where its weights come from further away.
    """
    share = (budget - fast[1]) / (slow[1] - fast[1])
    return fast[0] + share * (slow[0] - fast[0])


def check_asked(speedup: float | None, budget_ms: float | None, parts: Sequence[int]) -> None:
    """Raises UsageError where there is not one budget, or no P to choose."""
    if (speedup is None) == (budget_ms is None):
        raise UsageError(f"speedup={speedup}, budget_ms={budget_ms}: give one of the two")
    name, value, lowest = ("speedup", speedup, 1) if speedup is not None else ("budget_ms", budget_ms, 0)
    if not isinstance(value, int | float) or not lowest < value < math.inf:
        raise UsageError(f"{name}={value!r} must be a number above {lowest}")
    if not any(p > 1 for p in parts):
        raise UsageError(f"parts={tuple(parts)} must have a P above 1")


def _options(model: nn.Module, parts: Sequence[int]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The P above 1 that each layer takes, and why other convolutions take none."""
    options: dict[str, tuple[int, ...]] = {}
    others: dict[str, str] = {}
    for p in sorted({p for p in parts if p != 1}):
        report = convertible(model, p)
        for entry in report.converted:
            if entry.p == p:
                options[entry.name] = (*options.get(entry.name, ()), p)
        others |= {entry.name: entry.reason for entry in report.skipped}
        others |= {entry.name: entry.reason for entry in report.converted}
    return options, {name: reason for name, reason in others.items() if name not in options}


def _name(target: str | Target) -> str:
    return target if isinstance(target, str) else type(target).__name__


def _words(model: nn.Module, name: str) -> str:
    conv = model.get_submodule(name)
    return f"{conv.in_channels}→{conv.out_channels} {'×'.join(map(str, conv.kernel_size))}"  # type: ignore[arg-type]
