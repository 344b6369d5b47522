import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, deploy, load_deployed
from hetconv.errors import UsageError
from hetconv.lab.adapting.course import CHECKPOINT, DEPLOYED, PLAN, RECORD, REFITTED, REPORT, adapt, recipe_of
from hetconv.lab.inference import evaluate
from hetconv.lab.results import Epoch
from hetconv.lab.settings import Adaptation, Recipe, Tuning
from hetconv.lab.settings.adaptation import TUNING
from hetconv.lab.train import Progress, load_data
from hetconv.lab.train.checkpoint import load_checkpoint, save_checkpoint
from hetconv.ops import native

WANTED = Adaptation(
    name="tiny", speedup=1.5, recipe=replace(TUNING, epochs=2, batch_size=50), images=64, plan_images=32
)
FINISHED = ["original", "converted", "refitted", "tuned, 2 epochs"]


@pytest.fixture(scope="module")
def data():
    found = load_data("digits", train_limit=100)
    return replace(found, test=found.test.subset(list(range(60))))


@pytest.fixture(autouse=True)
def _every_epoch_is_stored(monkeypatch):
    monkeypatch.setattr("hetconv.lab.train.pace.TIMES", 0)


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    ).eval()  # fmt: skip


class Machine:
    """Made-up times: 1 ms beside the two layers, each of 2/P ms."""

    planned = 0

    def layer_times(self, model, example, parts):
        self.planned += 1
        return {name: {p: 2 / p for p in (1, *tried)} for name, tried in parts.items()}

    def prepare(self, model, example):
        return copy.deepcopy(model)

    def network_times(self, prepared, example):
        return {name: 1 + sum(2 / getattr(net[at], "p", 1) for at in (3, 6)) for name, net in prepared.items()}

    def circumstances(self):
        return None


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
def test_in_8_bits_the_deployed_network_is_evaluated_too(data, tmp_path):
    class Int8(Machine):
        def prepare(self, model, example):
            return deploy(model, example, "int8", data.first_images(32), timed=False)

        def network_times(self, prepared, example):
            return {name: 3.0 if network is prepared["original"] else 1.5 for name, network in prepared.items()}

    course = adapt(network(), data, replace(WANTED, recipe=None, precision="int8"), tmp_path, target=Int8())
    assert [step.name for step in course.steps] == ["original", "converted", "refitted", "in 8 bits"]
    deployed = load_deployed(tmp_path / DEPLOYED)
    assert deployed.report.int8 is not None
    assert course.steps[-1].accuracy == evaluate(deployed, data).share


class Stop(Progress):
    def epoch(self, found: Epoch) -> None:
        raise KeyboardInterrupt


def files(folder: Path):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".safetensors"}


def test_it_ends_with_every_file_and_every_step(data, tmp_path):
    model = network()
    before = copy.deepcopy(model.state_dict())
    course = adapt(model, data, WANTED, tmp_path, target=Machine())
    assert [step.name for step in course.steps] == FINISHED
    assert course.original_ms / course.adapted_ms >= 1.5 / 1.03
    assert all((tmp_path / name).exists() for name in (PLAN, REFITTED, CHECKPOINT, RECORD, REPORT))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    page = (tmp_path / REPORT).read_text()
    assert "speedup=1.5 is met" in page
    for step in course.steps:
        assert f"| {step.name} | {100 * step.accuracy:.2f} |" in page


def test_without_epochs_nothing_is_trained(data, tmp_path):
    course = adapt(network(), data, replace(WANTED, recipe=None), tmp_path, target=Machine())
    assert [step.name for step in course.steps] == FINISHED[:3]
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("step", ["plan", "refit", "tuning"])
def test_a_stopped_course_ends_as_an_undisturbed_one(data, tmp_path, monkeypatch, step):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    machine = Machine()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step != "tuning":
            patch.setattr(f"hetconv.lab.adapting.course.{'plan' if step == 'plan' else 'refit_'}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            adapt(network(), data, WANTED, stopped, target=machine, progress=Stop())
    done = machine.planned
    course = adapt(network(), data, WANTED, stopped, target=machine)
    assert machine.planned == (1 if step == "plan" else done)
    expected = adapt(network(), data, WANTED, whole, target=Machine())
    assert [(s.name, s.accuracy) for s in course.steps] == [(s.name, s.accuracy) for s in expected.steps]
    assert _weights(stopped, course) == _weights(whole, expected)


def _weights(folder, course):
    from hetconv import Plan, convert_

    model = network()
    convert_(model, Plan.load(folder / PLAN))
    load_checkpoint(folder / CHECKPOINT, model, None, course.identity)
    assert any(isinstance(module, HetConv2d) for module in model)
    return [value.tolist() for value in model.state_dict().values()]


def test_another_adaptations_folder_is_refused(data, tmp_path):
    wanted = replace(WANTED, recipe=None)
    adapt(network(), data, wanted, tmp_path, target=Machine())
    with pytest.raises(UsageError, match="of another adaptation: speedup differ"):
        adapt(network(), data, replace(wanted, speedup=1.2), tmp_path, target=Machine())
    other = network()
    with torch.no_grad():
        other[0].bias += 1
    with pytest.raises(UsageError, match="weights differ"):
        adapt(other, data, wanted, tmp_path, target=Machine())


def test_a_budget_out_of_reach_is_one_line_and_keeps_the_plan(data, tmp_path):
    with pytest.raises(UsageError, match=r"speedup=30 is out of reach: .* the plan is in") as caught:
        adapt(network(), data, replace(WANTED, speedup=30), tmp_path, target=Machine())
    assert "\n" not in str(caught.value)
    assert (tmp_path / PLAN).exists()
    assert not (tmp_path / REFITTED).exists()


def test_a_network_is_tuned_as_it_was_trained_at_half_the_rate(tmp_path):
    own = Recipe(epochs=100, batch_size=256, learning_rate=0.5, weight_decay=1e-3, schedule="step", step_epochs=(50,))
    known = {**vars(own), "step_epochs": [50]}
    save_checkpoint(tmp_path / "trained.safetensors", network(), None, {"recipe": known}, ())
    found = recipe_of(tmp_path / "trained.safetensors", Tuning(epochs=30))
    assert found == Recipe(
        epochs=30, batch_size=256, learning_rate=0.25, weight_decay=1e-3, schedule="cosine", warmup_epochs=0.5
    )


def test_what_is_asked_for_comes_before_how_it_was_trained(tmp_path):
    tuning = Tuning(epochs=10, lr=0.3, train_batch_size=7, mixed_precision="bf16")
    found = recipe_of(tmp_path / "weights.safetensors", tuning)
    assert found == replace(TUNING, learning_rate=0.3, batch_size=7, mixed_precision="bf16")
    assert recipe_of(tmp_path / "weights.safetensors", Tuning(epochs=0)) is None


def test_a_network_whose_training_is_not_known_has_the_default(tmp_path):
    assert recipe_of(tmp_path / "weights.safetensors", Tuning(epochs=10)) == TUNING
    save_checkpoint(tmp_path / "trained.safetensors", network(), None, {"recipe": {"speed": "high"}}, ())
    assert recipe_of(tmp_path / "trained.safetensors", Tuning(epochs=10)) == TUNING


def test_a_network_that_is_fast_enough_is_left_alone(data, tmp_path):
    wanted = replace(WANTED, speedup=None, budget_ms=6.0)
    with pytest.raises(UsageError, match=r"tiny meets budget_ms=6 as it is: 5\.000 ms"):
        adapt(network(), data, wanted, tmp_path, target=Machine())
