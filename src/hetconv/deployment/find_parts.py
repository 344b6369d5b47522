"""Which modules of a network are captured: the whole of it, or else the largest that can be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hetconv.deployment import example_calls
from hetconv.deployment.against_original import OverBudgetError, check_part
from hetconv.deployment.choose import AllNative, Chooser, call_is_faster
from hetconv.deployment.deploy_report import CheckedPart, NotCaptured, PlannedPart
from hetconv.deployment.deployed_part import DeployedPart
from hetconv.deployment.prepared_graph import Prepared, captured_values, prepare
from hetconv.deployment.signature import Signature
from hetconv.errors import UsageError
from hetconv.graph.captured import Captured
from hetconv.graph.equality import Reference
from hetconv.graph.tracing import CaptureError
from hetconv.nn import HetConv2d

CONVOLUTIONS = (nn.modules.conv._ConvNd, HetConv2d)


@dataclass(frozen=True)
class Part:
    """A module that was captured, and the module that takes its place."""

    names: tuple[str, ...]
    prepared: Prepared
    deployed: DeployedPart
    checked: CheckedPart
    planned: PlannedPart | None


@dataclass(frozen=True)
class Parts:
    """The captured modules, and those that could not be, outermost first."""

    found: tuple[Part, ...]
    left: tuple[NotCaptured, ...]


@dataclass(frozen=True)
class _Candidate:
    names: tuple[str, ...]
    module: nn.Module
    signature: Signature
    captured: Captured


class Finder:
    """Looks for the largest modules that can be captured and have a convolution in them."""

    def __init__(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        chooser: Chooser,
        refused: dict[str, str],
        right: Reference | None = None,
        measured: bool = True,
    ) -> None:
        """Args:
        refused: modules that must not be parts, with the reasons.
        right: what the model computes.
        measured: whether parts become one native call where that is measured to be faster.
        """
        self.measured = measured
        self.model, self.args, self.chooser, self.refused, self.right = model, args, chooser, refused, right
        self.calls = example_calls.signatures(model, self.args)
        self.left: list[NotCaptured] = []
        self._seen: set[nn.Module] = set()
        self.names: dict[nn.Module, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self.names.setdefault(module, []).append(name)

    def parts(self) -> Parts:
        """Raises HetconvError if a part computes something else than the original."""
        found: list[Part] = []
        candidates = list(self._candidates(self.model))
        while candidates:
            given = example_calls.inputs(self.model, self.args, [one.module for one in candidates])
            again: list[_Candidate] = []
            for one in candidates:
                try:
                    found.append(self._part(one, given.pop(one.module)))
                except CaptureError as error:
                    again += self._instead(one.module, str(error))
            candidates = again
        return Parts(tuple(found), tuple(self.left))

    def _part(self, one: _Candidate, inputs: list[Tensor], join: bool = True) -> Part:
        """Args:
        join: parallel convolutions; if their sums then round too much, the part is made once more without.
        """
        prepared = prepare(one.captured.copy(), [tensor.clone() for tensor in inputs], self.chooser, join=join)
        deployed = DeployedPart.of(one.names, one.signature, prepared.captured)
        planned = None
        if self.measured:
            prepared, deployed, planned = self._faster(one, inputs, join, prepared, deployed)
        known = self.right if one.module is self.model else None
        try:
            checked = check_part(one.names[0], one.module, deployed, one.signature.structure, inputs, known)
        except OverBudgetError:
            if not prepared.parallel:
                raise
            return self._part(one, inputs, join=False)
        return Part(one.names, prepared, deployed, checked, planned)

    def _faster(
        self, one: _Candidate, inputs: list[Tensor], join: bool, prepared: Prepared, deployed: DeployedPart
    ) -> tuple[Prepared, DeployedPart, PlannedPart]:
        """The part as one native call where there is such and it is faster, else as it is."""
        chooser = AllNative(self.chooser.found)
        given = [tensor.clone() for tensor in inputs]
        all_native = prepare(one.captured.copy(), given, chooser, linear=True, join=join)
        part = DeployedPart.of(one.names, one.signature, all_native.captured)
        name = one.names[0]
        refused = part.steps().refused or _refused_as_a_whole(part, inputs)
        if refused:
            return prepared, deployed, PlannedPart(name, False, tuple(NotCaptured(*call) for call in refused))
        with torch.inference_mode():
            wins, times = call_is_faster(lambda: part.run(inputs), lambda: deployed.run(inputs))
        planned = PlannedPart(name, wins, (), times.native_ms, times.torch_ms)
        return (all_native, part, planned) if wins else (prepared, deployed, planned)

    def _candidates(self, module: nn.Module) -> Iterator[_Candidate]:
        """The module if it can be captured, else its children's candidates."""
        if module in self._seen or not any(isinstance(inner, CONVOLUTIONS) for inner in module.modules()):
            return
        self._seen.add(module)
        signature = self.calls.get(module)
        if signature is None:  # a list of modules, or never called
            for child in module.children():
                yield from self._candidates(child)
            return
        try:
            if isinstance(signature, str):
                raise CaptureError(signature)
            names = tuple(self.names[module])
            if names[0] in self.refused:
                raise CaptureError(self.refused[names[0]])
            candidate = _Candidate(names, module, signature, captured_values(module, signature, module is self.model))
        except CaptureError as error:
            yield from self._instead(module, str(error))
        else:
            yield candidate

    def _instead(self, module: nn.Module, reason: str) -> Iterator[_Candidate]:
        self.left.append(NotCaptured(self.names[module][0], reason))
        for child in module.children():
            yield from self._candidates(child)


def _refused_as_a_whole(part: DeployedPart, inputs: list[Tensor]) -> tuple[tuple[str, str], ...]:
    """Makes the part one native call; or what the native network says of its sizes."""
    try:
        reason = part.plan(inputs)
    except UsageError as error:
        reason = str(error)
    return () if reason is None else (("its values", reason),)


@contextmanager
def put_parts(model: nn.Module, parts: Parts) -> Iterator[nn.Module]:
    """The model with its captured modules replaced, in place; or the one part that is the whole of it.

    If the block fails, the modules are put back.
    """
    by_name = {name: part.deployed for part in parts.found for name in part.names}
    if "" in by_name:
        yield by_name[""]
        return
    before: list[tuple[nn.Module, str, nn.Module]] = []
    for name, deployed in by_name.items():
        parent, _, key = name.rpartition(".")
        owner = model.get_submodule(parent)
        before.append((owner, key, owner.get_submodule(key)))
        deployed.keep_attributes(before[-1][2])
    try:
        for (owner, key, _), deployed in zip(before, by_name.values(), strict=True):
            owner._modules[key] = deployed
        yield model
    except BaseException:
        for owner, key, module in before:
            owner._modules[key] = module
        raise
