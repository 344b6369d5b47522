"""The course as a whole, on real digits, for each method; what a stopped course goes on from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hetconv.errors import UsageError
from hetconv.lab.compress import L1, DepGraph, Training, compress, parse_method, preparation, retraining
from hetconv.lab.compress.runtime_network import RuntimeNetwork
from hetconv.lab.models import create_model
from hetconv.lab.results import Epoch
from hetconv.lab.settings import Recipe, StageSettings
from hetconv.lab.train import Data, Progress, load_data
from hetconv.lab.variant import DENSE, parse_variant

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
STAGES = StageSettings(1, 0.01, 1, 0.001)
METHODS = [
    "l1-50",
    "afp-50",
    "sbp",
    "connection-90",
    "depgraph-50",
    "depgraph-sparse-50",
    "int8",
    "onnx",
    "het-p4-l1-50",
    "het-p4-int8",
]


class StoppedError(Exception):
    pass


class StopAfter(Progress):
    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch(self, found: Epoch) -> None:
        self.left -= 1
        if self.left == 0:
            raise StoppedError


@pytest.fixture(scope="module")
def data() -> Data:
    """64 images to train on and 64 to evaluate on; all 360 would take most of the time."""
    found = load_data("digits", train_limit=64)
    return replace(found, test=found.test.subset(list(range(64))))


def run(spec: str, data: Data, folder: Path | None = None, progress: Progress | None = None):
    variant = parse_variant(spec)
    method = parse_method(variant.method)
    training = Training(
        RECIPE, retraining(method, RECIPE, STAGES), preparation(method, RECIPE, STAGES), folder=folder,
        identity={"spec": spec},
    )  # fmt: skip
    torch.manual_seed(0)
    return compress(create_model("vgg16_cifar", variant.base, width=0.125), method, training, data, progress)


@pytest.mark.parametrize("spec", METHODS)
def test_every_method_goes_the_course(spec: str, data: Data) -> None:
    found = run(spec, data)
    record = found.record
    names = [stage.name for stage in record.stages]
    if spec.endswith(("int8", "onnx")):
        assert names == ["train"]
        assert isinstance(found.model, RuntimeNetwork)
    else:
        assert names == ["train", *(["prepare"] if spec in ("afp-50", "sbp", "depgraph-sparse-50") else []), "retrain"]
        assert sum(layer.after for layer in record.layers) <= sum(layer.before for layer in record.layers)
    assert found.cost.epochs == len(names) + 1
    assert found.cost.macs == sum(3 * s.macs * s.images * len(s.epochs) for s in record.stages)
    with torch.no_grad():
        assert found.model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert "T MACs of training" in str(found)


def test_a_stopped_course_goes_on_to_the_same_network(data: Data, tmp_path: Path) -> None:
    whole = run("l1-50", data)
    with pytest.raises(StoppedError):
        run("l1-50", data, tmp_path, StopAfter(3))
    again = run("l1-50", data, tmp_path)
    expected, found = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert replace(again.record, stages=()) == replace(whole.record, stages=())


def test_a_trained_network_needs_a_recipe_for_retraining_only(data: Data) -> None:
    model = create_model("vgg16_cifar", width=0.125)
    with pytest.raises(UsageError, match=r"retraining=None: without training\.recipe"):
        compress(model, L1(), Training(None), data)
    found = compress(model, DepGraph(), Training(None, RECIPE), data)
    assert [stage.name for stage in found.record.stages] == ["retrain"]


def test_retraining_is_the_papers_in_proportion() -> None:
    recipe = L1().retraining(Recipe(epochs=160, learning_rate=0.1))
    assert (recipe.epochs, recipe.learning_rate, recipe.schedule) == (40, pytest.approx(1e-3), "constant")


@pytest.mark.parametrize(("text", "message"), [
    ("l1-100", r"l1-100: share=1 must be above 0 and below 1"), ("l1-c", "unknown method 'l1-c'; it must be l1-"),
    ("connection-0", r"connection-0: share=0"), ("magic-3", "unknown method"), ("depgraph", "unknown method"),
    ("l1-50x2", "only afp and connection go in rounds"), ("afp-50x0", r"afp-50x0: times=0 must be at least 1"),
])  # fmt: skip
def test_wrong_words(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_method(text)


def test_variants_with_a_method() -> None:
    variant = parse_variant("het-p4-se-l1-50")
    assert (str(variant.base), variant.method, variant.p, variant.squeeze_excitation) == ("het-p4-se", "l1-50", 4, True)
    assert parse_variant("sbpa").base == parse_variant("dense-int8").base == DENSE
    assert variant.base == parse_variant("het-p4-se")
    assert variant.base.base == variant.base
    with pytest.raises(UsageError, match=r"variant 'l1-50' is dense after training and l1-50"):
        create_model("vgg16_cifar", "l1-50")
