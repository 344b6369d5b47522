"""Which configuration is taken: the fastest, timed once for each shape; the first where time must not decide."""

import json
from dataclasses import dataclass

import pytest
import torch

from hetconv.errors import HetconvError
from hetconv.ops.gpu import choices as remembered
from hetconv.ops.gpu import tuning
from hetconv.ops.gpu.choices import Trial, choices
from hetconv.ops.gpu.tuning import tuned

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
def timed(monkeypatch, tmp_path):
    """Names with the times they take, or why they do not run; lists the trials made. Nothing is known from before."""
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = []

    def attempt(name, run):
        made.append(name)
        took = {"slow": 2.0, "fast": 1.0}.get(name)
        return Trial(name, took, None if took else "OutOfResources: shared memory")

    monkeypatch.setattr(tuning, "_try", attempt)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    new_process()
    torch.use_deterministic_algorithms(False)
    yield made
    new_process()


def new_process():
    """What a later one knows: nothing but what is on the disk."""
    choices.cache_clear()


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


def test_later_processes_know_it(timed, tmp_path):
    names = ["too large", "slow", "fast"]
    assert tuned(("forward",), OnGpu(), names, print) == "fast"
    trials = list(choices().trials.values())
    new_process()
    assert tuned(("forward",), OnGpu(), names, print) == "fast"
    assert list(choices().trials.values()) == trials
    assert len(timed) == 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["choice.json"]


@pytest.mark.parametrize("other", ["call", "sizes", "type", "GPU", "kernels", "candidates"])
def test_what_a_kept_choice_depends_on(other, timed, monkeypatch):
    call, x = ("forward",), OnGpu()
    tuned(call, x, ["slow", "fast"], print)
    new_process()
    if other == "GPU":
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another GPU")
    if other == "kernels":
        monkeypatch.setattr(remembered, "_made_of", lambda: "other text")
    call = ("forward", 7) if other == "call" else call
    x = OnGpu((64, 16, 8, 9)) if other == "sizes" else OnGpu(dtype=torch.float16) if other == "type" else x
    names = ["fast", "slow"] if other == "candidates" else ["slow", "fast"]
    tuned(call, x, names, print)
    assert timed == ["slow", "fast", *names]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"trials": [{"configuration": "fast"',
        '{"trials": 3}',
        '{"trials": []}',
        '{"trials": [{"configuration": "unknown", "median_ms": 1.0, "refused": null}]}',
        '{"trials": [{"configuration": "slow", "median_ms": "1", "refused": null}]}',
        '{"trials": [{"configuration": "slow", "median_ms": -1, "refused": null}]}',
    ],
)
def test_a_damaged_choice_is_timed_anew(text, timed, tmp_path):
    tuned(("forward",), OnGpu(), ["slow", "fast"], print)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_text(text)
    new_process()
    with pytest.warns(UserWarning, match=r"choice\.json is damaged \(.*\); its configurations are timed anew$"):
        assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "fast"
    assert timed == ["slow", "fast"] * 2
    assert len(json.loads(path.read_text())["trials"]) == 2


def test_what_is_not_kept(timed, tmp_path, monkeypatch):
    attempt = tuning._try

    def out_of_memory(name, run):
        return Trial(name, None, "OutOfMemoryError: of another process") if name == "fast" else attempt(name, run)

    monkeypatch.setattr(tuning, "_try", out_of_memory)
    assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "slow"
    new_process()
    torch.use_deterministic_algorithms(True)
    tuned(("forward",), OnGpu(), ["slow", "fast"], print)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_kept_choice_does_not_decide_where_time_must_not(timed):
    assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "fast"
    new_process()
    torch.use_deterministic_algorithms(True)
    assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "slow"


def test_a_disk_that_takes_nothing(timed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match="^which configuration is the fastest is not kept for later processes: "):
        assert tuned(("forward",), OnGpu(), ["slow", "fast"], print) == "fast"


def test_none_runs(timed):
    with pytest.raises(HetconvError, match=r"^none of the GPU kernel's configurations runs on cuda:0: huge: OutOfRes"):
        tuned(("forward",), OnGpu(), ["huge", "larger"], print)


def test_a_failing_configuration_is_a_refusal():
    def run(configuration):
        raise ValueError("shared memory")

    assert tuning._try("one", run) == Trial("one", None, "ValueError: shared memory")
