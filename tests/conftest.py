import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# One thread, here and in processes that tests start: several test processes share the cores, and threads that wait for
# each other there take ten times as long. Tests of several threads ask for them.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: a test fails for what the code does or not at all.
settings.register_profile("hetconv", max_examples=40, derandomize=True, deadline=None, database=None)
settings.register_profile("nightly", settings.get_profile("hetconv"), max_examples=400)
settings.load_profile("hetconv")
torch.set_num_threads(1)

LONGEST = (
    "build/test_aarch64.py", "gpu/test_interpreter.py", "cli/test_commands.py", "lab/bench/test_bench.py",
    "cli/test_study.py", "lab/study/test_compare.py", "lab/study/test_survive.py", "test_shown_commands.py",
    "test_docs.py", "lab/compress/test_course.py", "export/test_native.py", "export/test_export.py",
    "deployment/test_int8.py", "ops/test_functional.py", "ops/test_dispatch.py", "ops/test_native.py",
    "test_wrappers.py", "lab/test_inference.py",
)  # fmt: skip
"""Files that take longest. They run first, so that no process is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    """What was imported until now is never searched for garbage again: that takes a tenth of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _little_is_timed() -> Iterator[None]:
    """Tests ask what is done with times, not for times. Clocks repeat a call for a tenth of the time that is usual, and
    what is deployed is not timed before and after, which takes a second, but in tests that are marked `timed`."""
    from hetconv import clock
    from hetconv.deployment import choose

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clock.times_in_turns.__kwdefaults__, "sample_ms", clock.SAMPLE_MS / 10)
        patch.setattr(choose, "SAMPLE_MS", choose.SAMPLE_MS / 10)
        patch.setattr(sys.modules["hetconv.deployment.deploy"], "before_and_after", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def _timed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Not by the test's own `monkeypatch`, which would then be undone after the fixtures that the test sees."""
    with pytest.MonkeyPatch.context() as patch:
        if "timed" in request.keywords:
            from hetconv.deployment.before_and_after import before_and_after

            patch.setattr(sys.modules["hetconv.deployment.deploy"], "before_and_after", before_and_after)
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    torch.manual_seed(0)
