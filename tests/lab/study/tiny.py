"""A study so small that a test can begin it, cut it off and go on with it many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from torch import nn

from hetconv.lab.results import Epoch, Results
from hetconv.lab.settings import Comparison, Recipe, StageSettings
from hetconv.lab.study import CompareProgress, compare
from hetconv.lab.study.attempts import Attempt
from hetconv.lab.study.owner import this_process
from hetconv.lab.variant import parse_variants


def network(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )  # fmt: skip


NETWORKS = "tiny_networks"
"""The module under which a test makes this one importable."""
EPOCHS = 3
TINY = Comparison(
    network=f"{NETWORKS}:network", variants=parse_variants("dense,het-p4"), train_limit=64, latency_samples=1,
    recipe=Recipe(epochs=EPOCHS, batch_size=32), stages=StageSettings(retrain_epochs=2),
)  # fmt: skip
COMPRESSED = replace(TINY, variants=parse_variants("dense,l1-50"))


class CutOffError(Exception):
    """The power goes."""


class Watch(CompareProgress):
    """Notes what is said and what is trained, and calls `then` after so many epochs."""

    def __init__(self, after: int | None = None, then: Callable[[], None] | None = None) -> None:
        self.after, self.then = after, then
        self.epochs: list[int] = []
        self.notices: list[str] = []

    def epoch(self, found: Epoch) -> None:
        self.epochs.append(found.epoch)
        if self.then is not None and len(self.epochs) == self.after:
            self.then()

    def notice(self, text: str) -> None:
        self.notices.append(text)

    @property
    def said(self) -> str:
        return "\n".join(self.notices)


def cut_off() -> None:
    raise CutOffError


def begin_and_cut_off(comparison: Comparison, folder: Path, epochs: int) -> None:
    """Leave a folder as a power cut does after so many epochs: the run is still its dead process's own."""
    dead = replace(this_process(), started="1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "give_up", lambda *_: None)
        patch.setattr("hetconv.lab.study.attempts.this_process", lambda: dead)
        with pytest.raises(CutOffError):
            compare(comparison, folder, Watch(epochs, cut_off))


def files(folder: Path) -> list[str]:
    """All that a study has written, but for what says whose turn it is."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != ".lock" and not name.endswith("lease.json"))


def outcome(results: Results, folder: Path) -> object:
    """What must be the same in every bit, however often a study was disturbed: epochs without their seconds, and
    weights with the optimizer's state."""
    runs = [
        (run.variant, run.seed, run.state, run.accuracy, [replace(epoch, seconds=0) for epoch in run.epochs])
        for run in results.runs
    ]
    weights = {
        name: {key: tensor.tobytes() for key, tensor in load_file(folder / name).items()}
        for name in files(folder)
        if name.endswith(".safetensors")
    }
    return runs, weights
