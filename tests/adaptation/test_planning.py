import copy
import itertools
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from hetconv import HetConv2d, Plan, convert_, plan
from hetconv.adaptation.image_batches import ImageBatches
from hetconv.adaptation.losses import layer_losses
from hetconv.adaptation.passes import inference
from hetconv.adaptation.statistics import Answers
from hetconv.adaptation.targets import DeployTarget
from hetconv.cost.circumstances import circumstances
from hetconv.deployment.choose import FormTimes, Work, form_times, int8_times
from hetconv.errors import DamagedFileError, HetconvError, UsageError
from hetconv.ops import native
from hetconv.ops.arguments import geometry
from hetconv.pattern import HetPattern

from .networks import branches, smooth_images

SIZES = {"right": 4.0, "left": 9.0, "last": 6.0}
"""Milliseconds of each layer with P=1, in a made-up machine."""
EXAMPLE = torch.zeros(1, 3, 16, 16)


class Machine:
    """A target whose times are made up: a layer takes size/P plus a fixed part, a network the sum times `factor`."""

    def __init__(self, fixed=0.5, factor=1.0, rest=3.0, slower=()):
        self.fixed, self.factor, self.rest, self.slower = fixed, factor, rest, slower

    def time(self, name, p):
        return SIZES[name] if p == 1 else SIZES[name] / p + self.fixed + (100 if name in self.slower else 0)

    def layer_times(self, model, example, parts):
        return {name: {p: self.time(name, p) for p in (1, *tried)} for name, tried in parts.items() if name in SIZES}

    def prepare(self, model, example):
        return model

    def network_times(self, prepared, example):
        return {name: self.network_time(network) for name, network in prepared.items()}

    def network_time(self, network):
        layers = [(name, getattr(network.get_submodule(name), "p", 1)) for name in SIZES]
        return self.rest + self.factor * sum(self.time(name, p) for name, p in layers)

    def circumstances(self):
        return None


plan_ = partial(plan, images=smooth_images(32), parts=(1, 2, 4, 8))


def test_a_budget_is_met_and_what_is_measured_is_what_was_asked():
    machine = Machine()
    found = plan_(branches(), EXAMPLE, speedup=1.8, target=machine)
    assert found.is_met
    assert found.original_ms == 22.0
    assert found.budget_ms == pytest.approx(22 / 1.8)
    assert found.measured_ms <= 1.03 * found.budget_ms
    network = branches()
    convert_(network, found)
    assert machine.network_time(network) == found.measured_ms
    assert {name: m.p for name, m in network.named_modules() if isinstance(m, HetConv2d)} == dict(found.p_by_name)


def test_it_is_the_choice_with_the_least_loss_of_all_that_are_fast_enough():
    """Against every choice, where the sum of the layers is the truth."""
    machine = Machine()
    found = plan_(branches(), EXAMPLE, budget_ms=11.0, target=machine)
    by_name = {layer.name: layer for layer in found.layers}
    choices = [
        (sum(by_name[n].losses[p] for n, p in zip(SIZES, ps, strict=True)), ps)
        for ps in itertools.product((1, 2, 4, 8), repeat=3)
        if 3 + sum(machine.time(n, p) for n, p in zip(SIZES, ps, strict=True)) <= 11.0
    ]
    assert tuple(found.p_by_name.get(name, 1) for name in SIZES) == min(choices)[1]


@pytest.mark.parametrize(("factor", "rest"), [(0.7, 3.0), (1.3, 3.0), (2.0, 0.0), (4.0, 0.0)])
def test_a_network_that_is_not_the_sum_of_its_layers_is_corrected(factor, rest):
    """The slowest network, or nearly, of all that meet the budget, where each layer takes `factor` times as long."""
    machine = Machine(factor=factor, rest=rest)
    found = plan_(branches(), EXAMPLE, speedup=2.0, target=machine)
    assert found.is_met
    assert len(found.trials) > 1
    sums = (sum(map(machine.time, SIZES, ps)) for ps in itertools.product((1, 2, 4, 8), repeat=3))
    fitting = [time for time in (rest + factor * found for found in sums) if time <= 1.03 * found.budget_ms]
    assert found.measured_ms >= 0.9 * max(fitting)


def test_a_budget_out_of_reach_gives_the_fastest_and_says_so():
    found = plan_(branches(), EXAMPLE, speedup=20, target=Machine())
    assert not found.is_met
    assert set(found.p_by_name.values()) == {8}
    assert re.match(r"speedup=20 is out of reach: the fastest choice is 22\.000 → 6\.875 ms", found.verdict)
    assert "\n" not in found.verdict


def test_a_layer_that_becomes_slower_stays_as_it_is():
    found = plan_(branches(), EXAMPLE, speedup=1.5, target=Machine(slower=("left",)))
    assert "left" not in found.p_by_name
    assert {other.name: other.reason for other in found.others}["left"] == "no P makes it faster"
    assert "stem" in {other.name for other in found.others}


def test_a_budget_that_the_original_meets_converts_nothing():
    found = plan_(branches(), EXAMPLE, budget_ms=30.0, target=Machine())
    assert found.is_met
    assert not found.p_by_name
    assert found.measured_ms == found.original_ms == 22.0


def test_the_model_is_left_as_it_was():
    model = branches()
    before = copy.deepcopy(model.state_dict())
    plan_(model, EXAMPLE, speedup=1.5, target=Machine())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(isinstance(module, HetConv2d) for module in model.modules())


def test_a_plan_prints_saves_and_loads(tmp_path):
    found = plan_(branches(), EXAMPLE, speedup=1.5, target=Machine())
    found.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == found
    text = str(found)
    assert "speedup=1.5 is met: 22.000 →" in text
    for layer in found.layers:
        assert re.search(rf"{layer.name} .*{layer.p} ", text)


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        Plan.load(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="no plan"):
        Plan.load(tmp_path / "plan.json")
    found = plan_(branches(), EXAMPLE, speedup=1.5, target=Machine())
    replace(found, format="hetconv-plan-0").save(tmp_path / "plan.json")
    with pytest.raises(UsageError, match="format"):
        Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "give one of the two"),
        ({"speedup": 2, "budget_ms": 3}, "give one of the two"),
        ({"speedup": 1}, "speedup=1 must be a number above 1"),
        ({"budget_ms": 0}, "budget_ms=0 must be"),
        ({"speedup": float("nan")}, "speedup=nan must be"),
        ({"speedup": 2, "parts": (1,)}, "must have a P above 1"),
        ({"speedup": 2, "target": "tpu"}, "target='tpu' must be"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(settings, match):
    with pytest.raises(UsageError, match=match):
        plan_(branches(), EXAMPLE, **{"target": Machine(), **settings})


def test_a_network_without_layers_to_convert_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1))
    with pytest.raises(UsageError, match="can be made faster: stem"):
        plan_(network, EXAMPLE, speedup=2, target=Machine())


def test_convert_takes_no_other_thing_for_a_plan():
    with pytest.raises(UsageError, match="positive integer or a plan"):
        convert_(branches(), "4")


class TestLosses:
    def test_a_layer_that_loses_nothing_has_no_loss(self):
        model = branches()
        model.left = HetConv2d.from_dense(model.left, 4).to_dense()  # its kernels have the zeros of P=4
        found = layer_losses(model, {"left": (2, 4, 8)}, ImageBatches.of(smooth_images(256)))["left"]
        assert found[4] < 1e-9 < 1e-4 < found[8]

    def test_at_its_reference_p_it_is_the_error_of_the_network(self):
        model = branches()
        images = ImageBatches.of(smooth_images(64))
        losses = layer_losses(model, {"right": (2, 4, 8), "left": (2, 4)}, images)
        assert losses["right"][2] < losses["right"][4] < losses["right"][8]
        network = copy.deepcopy(model)
        convert_(network, 4, include="right")
        with inference(network, model):
            projected = Answers.of(model, images.held_out).error_of(network)
        assert 0 < losses["right"][4] < projected**2  # least squares is better


class TestMeasuredBefore:
    def test_another_budget_is_planned_without_timing_a_layer_again(self):
        first = plan_(branches(), EXAMPLE, speedup=1.5, target=Machine())
        machine = Machine()
        machine.layer_times = None
        found = plan_(branches(), EXAMPLE, speedup=1.8, target=machine, measured=first)
        anew = plan_(branches(), EXAMPLE, speedup=1.8, target=Machine())
        assert [layer.times_ms for layer in found.layers] == [layer.times_ms for layer in anew.layers]
        assert found.others == first.others
        assert found.is_met
        assert found.speedup >= 1.8 / 1.03
        assert dict(found.p_by_name) != dict(first.p_by_name)

    def test_a_plan_of_something_else_is_refused(self):
        first = plan_(branches(), EXAMPLE, speedup=1.5, target=Machine())
        again = partial(plan_, example=EXAMPLE, speedup=1.8, target=Machine())
        with pytest.raises(UsageError, match="is for deploy and this one for Machine"):
            again(branches(), measured=replace(first, target="deploy"))
        with pytest.raises(UsageError, match=r"Plan\.load reads one"):
            again(branches(), measured="plan.json")
        here = circumstances(torch.device("cpu"), "float32", "channels_last", len(EXAMPLE), torch.get_num_threads())
        assert again(branches(), measured=replace(first, circumstances=here)).is_met
        for there, match in (
            (replace(here, batch_size=8), "with images 8 and not with 1"),
            (replace(here, threads=99), "with threads 99 and not"),
            (replace(here, processor="an abacus"), "with processor an abacus and not"),
        ):
            with pytest.raises(UsageError, match=match):
                again(branches(), measured=replace(first, circumstances=there))
        with pytest.raises(UsageError, match="has P of 1, 2, 4, 8 for"):
            again(branches(), measured=first, parts=(2, 4))
        other = branches()
        other.left = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        with pytest.raises(UsageError, match=r"has a layer left \(8→16 5×5\)"):
            again(other, measured=first)


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="no native kernels")
class TestDeployTarget:
    """Real deployed networks, and a made-up clock."""

    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch):
        asked = []

        def form_times(work, patterns):
            asked.append(work)
            return FormTimes(tuple(10.0 / pattern.p for pattern in patterns), 7.0)

        def calm_medians(models, example):
            asked.extend(model.report.int8 is not None for model in models.values())
            words = {name: " ".join(e.layer for e in model.report.convolutions) for name, model in models.items()}
            return {name: 30.0 - 4.5 * text.count("het P4") for name, text in words.items()}

        def int8_times(work, patterns):
            asked.append(work)
            return tuple(10.0 / pattern.p for pattern in patterns)

        monkeypatch.setattr("hetconv.adaptation.targets.form_times", form_times)
        monkeypatch.setattr("hetconv.adaptation.targets.int8_times", int8_times)
        monkeypatch.setattr("hetconv.adaptation.targets.calm_medians", calm_medians)
        return asked

    def test_each_layer_has_a_time_for_each_p(self, asked):
        parts = {"right": (2, 4), "left": (2,), "last": (4,)}
        found = DeployTarget().layer_times(branches(), smooth_images(2), parts)
        assert found["right"] == {1: 7.0, 2: 5.0, 4: 2.5}
        assert found["last"] == {1: 14.0, 4: 5.0}  # it is called twice
        assert any(work.activation == "relu" for work in asked)
        assert all(work.input_shape[0] == 2 for work in asked)

    def test_a_plan_is_measured_deployed(self):
        found = plan(branches(), smooth_images(1), images=smooth_images(16), speedup=1.15, parts=(1, 4))
        assert found.is_met
        assert found.original_ms == 30.0
        assert found.measured_ms == 25.5  # one of the layers that are called once
        assert (found.circumstances.dtype, found.circumstances.batch_size) == ("float32", 1)

    def test_a_plan_for_8_bits_is_measured_in_8_bits(self, asked):
        images, model = smooth_images(16), branches()
        model.left.padding_mode = "zeros"
        found = plan(model, images[:1], images=[images[:8], images[8:]], speedup=1.15, parts=(1, 4), target="int8")
        assert found.is_met
        assert found.measured_ms == 25.5  # one of the layers that are called once
        assert found.target == "int8"
        assert next(layer.times_ms for layer in found.layers if layer.name == "last") == {1: 20.0, 4: 5.0}
        networks = [one for one in asked if isinstance(one, bool)]
        assert networks
        assert all(networks)


def test_each_pattern_of_a_layer_is_run(monkeypatch):
    """What is timed of each form computes the layer; the clock is made up."""
    if native.why_not_loaded() is not None:
        pytest.skip(native.why_not_loaded())
    called = []

    def times_in_turns(timers, *_, **__):
        for timer in timers.values():
            timer(1)
        called.extend(timers)
        return {name: [name] for name in timers}

    monkeypatch.setattr("hetconv.deployment.choose.times_in_turns", times_in_turns)
    work = Work(HetPattern(8, 16, 3, 1), geometry(2, 1, 1, (3, 3)), (2, 8, 9, 9), True, "relu")
    assert form_times(work, [replace(work.pattern, p=p) for p in (1, 2, 4)]) == FormTimes((0, 1, 2), 3)
    assert len(called) == 4
    assert int8_times(work, [replace(work.pattern, p=p) for p in (1, 2, 4)]) == (0, 1, 2)


class Called(nn.Module):
    """A layer called by keyword, and once more where images are large; another one behind it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        x = self.first(input=x.mul_(0.5)).relu()
        if x.shape[-1] > 16:
            x = self.first(input=x).relu()
        return self.last(input=x)


CALLED_PARTS = {"first": (3,), "last": (3,)}


class TestLossesOfLayersThatAreCalledInOtherWays:
    def test_by_keyword_of_images_that_change_in_place(self):
        model = Called().eval()
        images = smooth_images(64)
        found = layer_losses(model, CALLED_PARTS, ImageBatches.of(images))
        again = layer_losses(model, CALLED_PARTS, ImageBatches.of(images))
        assert found == again
        assert all(0 < losses[3] < 1 for losses in found.values())

    @pytest.mark.parametrize("held_out", [16, 24])
    def test_more_or_less_often_in_other_batches(self, held_out):
        model = Called().eval()
        fitted = tuple(smooth_images(2, 40 - held_out) for _ in range(4))
        batches = ImageBatches(fitted, (smooth_images(2, held_out),))
        if held_out == 16:  # the fitted batches call it twice
            assert layer_losses(model, CALLED_PARTS, batches).keys() == CALLED_PARTS.keys()
        else:
            with pytest.raises(HetconvError, match="calls first less often than another"):
                layer_losses(model, CALLED_PARTS, batches)
