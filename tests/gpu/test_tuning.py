"""Which configuration is taken: the fastest, timed once for each shape; the first where time must not decide."""

from dataclasses import dataclass

import pytest
import torch

from hetconv.errors import HetconvError
from hetconv.ops.gpu import tuning
from hetconv.ops.gpu.tuning import Trial, choices, tuned

CUDA = torch.device("cuda:0")


@dataclass(frozen=True)
class OnGpu:
    """What `tuned` asks of a tensor on a GPU."""

    shape: tuple[int, ...] = (64, 16, 8, 8)
    device: torch.device = CUDA
    dtype: torch.dtype = torch.bfloat16

    def numel(self):
        return 1

    def stride(self, dim):
        return 1


@pytest.fixture
def timed(monkeypatch):
    """Names with the times they take, or why they do not run; lists the trials made."""
    made = []

    def attempt(name, run):
        made.append(name)
        took = {"slow": 2.0, "fast": 1.0}.get(name)
        return Trial(name, took, None if took else "out of shared memory")

    monkeypatch.setattr(tuning, "_try", attempt)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    choices().chosen.clear()
    torch.use_deterministic_algorithms(False)
    yield made
    choices().chosen.clear()
    choices().trials.clear()


def test_the_fastest_is_timed_once(timed):
    for batch in (64, 100):  # up to a factor of two alike
        assert tuned(("forward",), OnGpu((batch, 16, 8, 8)), ["too large", "slow", "fast"], print) == "fast"
    assert timed == ["too large", "slow", "fast"]
    assert tuned(("forward",), OnGpu((200, 16, 8, 8)), ["slow", "fast"], print) == "fast"
    assert tuned(("input_grad",), OnGpu(), ["slow", "too large"], print) == "slow"
    assert len(timed) == 7


def test_the_first_that_runs_where_time_must_not_decide(timed):
    torch.use_deterministic_algorithms(True)
    for _ in range(2):
        assert tuned(("forward",), OnGpu(), ["too large", "slow", "fast"], print) == "slow"
    assert timed == ["too large", "slow"]


def test_nothing_is_timed_while_a_graph_is_recorded(timed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "slow"
    assert timed == []


def test_none_runs(timed):
    with pytest.raises(
        HetconvError, match=r"^none of the GPU kernel's configurations runs on cuda:0: huge: out of sha"
    ):
        tuned(("forward",), OnGpu(), ["huge", "larger"], print)


def test_a_failing_configuration_is_a_refusal():
    def run(configuration):
        raise ValueError("shared memory")

    assert tuning._try("one", run) == Trial("one", None, "ValueError: shared memory")


def test_what_is_unproven_is_compared_first():
    right = torch.arange(1.0, 5)

    def run(name):
        if name == "fails":
            raise ValueError("no shared memory")
        return {"proven": right, "close": right * (1 + 2**-23), "wrong": right + 1, "nan": right / 0 - right / 0}[name]

    assert tuning.why_wrong("close", "proven", run) is None
    assert tuning.why_wrong("wrong", "proven", run).startswith("its values are off by 1; allowed are 1.91e-06")
    assert tuning.why_wrong("nan", "proven", run).startswith("its values are off by nan")
    assert tuning.why_wrong("fails", "proven", run) == "ValueError: no shared memory"
    assert "zeros prove nothing" in tuning.why_wrong("zero", "zero", lambda name: torch.zeros(2))


def test_an_unproven_candidate_that_is_wrong_is_refused(timed, monkeypatch):
    monkeypatch.setattr(tuning, "why_wrong", lambda one, proven, run: "its values are off")
    assert tuned(("forward",), OnGpu(), ["slow", "fast"], print, lambda one: one == "fast") == "slow"
    assert timed == ["slow"]
