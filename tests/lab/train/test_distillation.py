import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.results import Epoch
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, Distillation, Progress, load_data, train
from hetconv.lab.train.images import TensorSplit

RECIPE = Recipe(epochs=2, batch_size=50)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", train_limit=100)


def network(seed: int, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, classes)
    )


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def trained(data: Data, objective: Distillation | None, **settings: object) -> list[Tensor]:
    model = network(1)
    train(model, data, RECIPE, 0, objective=objective, **settings)  # type: ignore[arg-type]
    return weights(model)


def test_the_loss_is_the_papers_formula() -> None:
    teacher, images = network(2), torch.randn(6, 3, 32, 32)
    labels, logits = torch.arange(6), torch.randn(6, 10)
    temperature, share = 3.0, 0.7
    p = (teacher.eval()(images).detach() / temperature).softmax(1)
    q = (logits / temperature).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    cross_entropy = -logits.log_softmax(1)[range(6), labels].mean()
    expected = 0.3 * cross_entropy + 0.7 * 9 * divergence
    found = Distillation(teacher, temperature, share).loss(images, logits, labels, RECIPE)
    torch.testing.assert_close(found, expected)


def test_without_a_share_the_teacher_changes_nothing(data: Data) -> None:
    assert same(trained(data, Distillation(network(2), share=0)), trained(data, None))


def test_with_the_whole_share_labels_are_not_looked_at(data: Data) -> None:
    assert isinstance(data.train, TensorSplit)
    others = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 10))
    one, other = (trained(which, Distillation(network(2), share=1)) for which in (data, others))
    assert same(one, other)
    assert not same(trained(data, None), trained(others, None))


def test_the_teacher_is_left_as_it_was(data: Data) -> None:
    teacher = network(2).train()
    before = weights(teacher)
    trained(data, Distillation(teacher))
    assert same(weights(teacher), before)
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_a_stopped_run_ends_as_an_undisturbed_one(data: Data, tmp_path: Path) -> None:
    class Stop(Progress):
        def epoch(self, found: Epoch) -> None:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(data, Distillation(network(2)), checkpoint=checkpoint, progress=Stop())
    resumed = trained(data, Distillation(network(2)), checkpoint=checkpoint)
    assert same(resumed, trained(data, Distillation(network(2))))


def test_what_is_for_new_networks_is_not_done_to_a_trained_one(data: Data) -> None:
    class New(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.called = network(1), list[str]()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)  # type: ignore[no-any-return]

        def before_training(self, images: Tensor) -> None:
            self.called.append("training")

        def before_epoch(self, epoch: int) -> None:
            self.called.append("epoch")

    model = New()
    train(model, data, replace(RECIPE, epochs=1), 0, objective=Distillation(network(2)))
    assert not model.called
    model = copy.deepcopy(model)
    train(model, data, replace(RECIPE, epochs=1), 0)
    assert model.called == ["training", "epoch"]


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"temperature": 0.0}, "temperature=0.0 must be above 0"), ({"share": 1.5}, "share=1.5 must be between 0 and 1")],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Distillation(network(2), **settings)


def test_a_teacher_of_other_classes_is_refused(data: Data) -> None:
    with pytest.raises(UsageError, match=r"the teacher gives outputs of shape \(50, 7\)"):
        trained(data, Distillation(network(2, classes=7)))
