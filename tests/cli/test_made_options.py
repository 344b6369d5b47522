"""A command's options are those of its settings."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from hetconv.cli.app import app
from hetconv.errors import UsageError
from hetconv.lab.settings import Adaptation, Bench, Comparison, Recipe, SingleRun, StageSettings, TrainedAs
from hetconv.lab.settings.comparison import shared
from hetconv.lab.settings.setting import settings_of
from hetconv.lab.train import Data
from hetconv.lab.trained import Trained
from hetconv.lab.variant import parse_variant, parse_variants

HET_P2 = parse_variant("het-p2")
NO_DATA = Data("none", 10, (3, 8, 8), [], [])


@pytest.fixture
def asked(monkeypatch):
    """What a comparison would have been made of."""
    seen = []
    monkeypatch.setattr("hetconv.cli.app._compare", lambda comparison, *_, **__: seen.append(comparison))
    return seen


def call(*arguments):
    app(arguments, standalone_mode=False)


def test_bench_takes_the_defaults_of_its_settings(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("hetconv.lab.bench.bench_in_turns", lambda several, _: seen.extend(several) or ())
    call("bench", "vgg16_cifar", "--out", str(tmp_path))
    call("bench", "vgg16_cifar", "--out", str(tmp_path), "--variant", "het-p8", "--precision", "int8", "--threads", "2")
    default = Bench("vgg16_cifar", input_size=(3, 32, 32))
    assert seen == [default, replace(default, variants=("dense", "het-p8"), precisions=("int8",), threads=2)]


def test_adapt_takes_the_defaults_of_its_settings(monkeypatch, tmp_path):
    def adapt(model, source, wanted, *_, **__):
        raise UsageError(repr(wanted))

    monkeypatch.setattr("hetconv.lab.adapting.course.adapt", adapt)
    monkeypatch.setattr(
        "hetconv.lab.named.trained_network", lambda *_: (None, Trained("vgg16_cifar", 1.0, "dense", 10, (3, 48, 48)))
    )
    sizes = []
    monkeypatch.setattr("hetconv.lab.train.load_data", lambda *_, image_size, **__: sizes.append(image_size) or NO_DATA)
    given = ("adapt", "vgg16_cifar", "--weights", "none.safetensors", "--out", str(tmp_path))
    for more, expected in (
        ((), Adaptation(name="vgg16_cifar")),
        (("--epochs", "0", "--p", "2,4"), Adaptation(name="vgg16_cifar", recipe=None, parts=(2, 4))),
        (("--precision", "int8"), Adaptation(name="vgg16_cifar", precision="int8")),
        (("--image-size", "64"), Adaptation(name="vgg16_cifar")),
    ):
        with pytest.raises(UsageError) as wanted:
            call(*given, *more)
        assert str(wanted.value) == repr(expected)
    assert sizes == [48, 48, 48, 64]  # the network's own, unless another is asked for


def test_without_options_a_command_takes_the_defaults_of_its_settings(asked):
    call("compare")
    call("train", "--out", "unused")
    assert asked == [Comparison(), SingleRun().comparison()]


def test_every_option_reaches_its_setting(asked):
    call(
        "compare", "vgg16_cifar", "--variants", "dense,het-p2-l1-50", "--weights", "w", "--seeds", "3", "--lr", "0.5",
        "--schedule", "step", "--step-epochs", "2,4", "--retrain-lr", "0.25", "--test-views", "--latency-samples", "7",
    )  # fmt: skip
    recipe = Recipe(learning_rate=0.5, schedule="step", step_epochs=(2, 4), test_views=True)
    assert asked == [
        Comparison(
            network="vgg16_cifar", variants=parse_variants("dense,het-p2-l1-50"), weights=Path("w"), seeds=(0, 1, 2),
            recipe=recipe, stages=StageSettings(retrain_lr=0.25), latency_samples=7,
        )
    ]  # fmt: skip


def test_lists_are_text_of_which_none_is_empty_and_nothing_the_default(monkeypatch):
    seen = []

    class SeenError(Exception):
        pass

    def probe(probing, *_):
        seen.append((probing.variant, probing.parts, probing.shares, probing.layers))
        raise SeenError

    monkeypatch.setattr("hetconv.lab.study.probing.probe", probe)
    for given in (["--p", "2,4", "--shares", "none", "--variant", "het-p2"], ["--shares", "0.5", "--layers", "a,b"]):
        with pytest.raises(SeenError):
            call("sensitivity", *given)
    assert seen == [
        (parse_variant("het-p2"), (2, 4), (), None), (parse_variant("dense"), None, (0.5,), ("a", "b")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        ("evaluate", "net.safetensors"),
        ("predict", "net.safetensors", "picture.png"),
        ("deploy", "resnet20_cifar", "--out", "out"),
        ("export", "resnet20_cifar", "--out", "out"),
    ],
)
def test_a_trained_network_is_built_by_the_same_options_everywhere(monkeypatch, line):
    class SeenError(Exception):
        pass

    def seen(*given):
        raise SeenError(next(one for one in given if isinstance(one, TrainedAs)))

    monkeypatch.setattr("hetconv.lab.named.trained_network", seen)
    monkeypatch.setattr("hetconv.lab.inference.open_network", seen)
    given = ("--variant", "het-p2", "--num-classes", "3", "--width", "0.5")
    for more, expected in (((), TrainedAs()), (given, TrainedAs(variant=HET_P2, num_classes=3, width=0.5))):
        with pytest.raises(SeenError) as found:
            call(*line, *more)
        (made,) = found.value.args
        assert TrainedAs(**shared(made, TrainedAs)) == expected


@pytest.mark.parametrize(
    "name", ["compare", "train", "sensitivity", "deploy", "export", "evaluate", "predict", "adapt", "bench"]
)
def test_every_option_says_what_it_is(name):
    for parameter in typer.main.get_command(app).commands[name].params:
        assert parameter.help, parameter.name


def test_values_out_of_range_are_refused_wherever_they_come_from():
    for name, (_, setting) in settings_of(Recipe).items():
        if setting is not None and setting.at_least is not None:
            with pytest.raises(UsageError, match=f"{name}=.* must be {setting.rule}"):
                Recipe(**{name: setting.at_least - 1})
