from pathlib import Path

import pytest
from torch import nn

from hetconv.lab.results import Epoch
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Progress, load_data, train
from hetconv.lab.train.checkpoint import previous, read_header
from hetconv.lab.train.pace import LONGEST_S, Pace


class Clock:
    """Stands still until it is moved on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("took", "times", "pause"), [(0.5, 200, 100.0), (0.0, 200, 0.0), (7.0, 200, LONGEST_S)])
def test_storing_is_due_again_after_so_many_times_as_long(
    monkeypatch: pytest.MonkeyPatch, took: float, times: int, pause: float
) -> None:
    monkeypatch.setattr("hetconv.lab.train.pace.TIMES", times)
    clock = Clock()
    pace = Pace(clock)
    assert pace.is_due()
    with pace.storing():
        clock.now += took
    stored = clock.now
    clock.now = stored + pause - 1
    assert not pace.is_due() or pause == 0
    clock.now = stored + pause
    assert pace.is_due()


def test_the_first_and_the_last_epoch_are_stored_at_any_pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hetconv.lab.train.pace.TIMES", 10**9)
    told: list[tuple[str, int]] = []

    class Watch(Progress):
        def stored(self, found: Epoch) -> None:
            told.append(("stored", found.epoch))

        def epoch(self, found: Epoch) -> None:
            told.append(("epoch", found.epoch))

    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    checkpoint = tmp_path / "checkpoint.safetensors"
    data = load_data("digits", train_limit=64)
    epochs = train(network, data, Recipe(epochs=4, batch_size=32), 0, checkpoint=checkpoint, progress=Watch())
    assert told == [("stored", 1), ("epoch", 1), ("epoch", 2), ("epoch", 3), ("stored", 4), ("epoch", 4)]
    assert read_header(checkpoint).epochs == epochs
    assert read_header(previous(checkpoint)).epochs == epochs[:1]
