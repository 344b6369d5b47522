"""Without a terminal, a line a minute."""

from io import StringIO

import pytest
from rich.console import Console

from hetconv.cli import progress
from hetconv.cli.progress import TerminalProgress


@pytest.mark.parametrize(
    ("terminal", "lines"), [(False, ["epoch 2 of 9, step 30 of 50", "epoch 3 of 9, step 5 of 50"]), (True, [])]
)
def test_a_line_a_minute(terminal, lines, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = StringIO()
    told = TerminalProgress(Console(file=out, force_terminal=terminal), 1, 9)
    told.name = "dense seed 0"
    for seconds, epoch, step in ((59, 2, 29), (61, 2, 30), (62, 2, 31), (120, 3, 4), (121, 3, 5)):
        now[0] = 100.0 + seconds
        told.step(epoch, step, 50)
    assert out.getvalue().splitlines() == [f"dense seed 0: {line}" for line in lines]
