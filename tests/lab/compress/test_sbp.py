from dataclasses import replace

import pytest
import torch
from torch import nn

from hetconv.errors import UsageError
from hetconv.lab.compress import Bayesian, parse_method
from hetconv.lab.compress.sbp import (
    ACCELERATED_WEIGHTS,
    BETAS,
    NOISE_PATH,
    EvidenceBound,
    Noise,
    NoisyConv,
    with_noise,
    without_noise,
)
from hetconv.lab.models import create_model
from hetconv.lab.settings import Recipe
from hetconv.nn import HetConv2d

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
VARIANTS = ["dense", "het-p4"]


def noisy(variant: str = "dense") -> nn.Module:
    model = create_model("vgg16_cifar", variant, width=0.125)
    return Bayesian().prepare(model, EXAMPLE)


@pytest.mark.parametrize("conv", [nn.Conv2d(3, 4, 3), HetConv2d(4, 4, 3, p=2), nn.Conv2d(3, 4, 3, bias=False)])
def test_noise_is_multiplied_before_the_bias_is_added(conv: nn.Module) -> None:
    x = torch.randn(2, conv.in_channels, 8, 8)
    bias = conv.bias
    expected = conv(x)
    module = NoisyConv(conv).eval()
    module.noise.mu.data.fill_(-1.0)
    factor = module.noise.mean()[:, None, None]
    offset = 0 if bias is None else bias[:, None, None]
    torch.testing.assert_close(module(x), (expected - offset) * factor + offset)


def test_noise_is_drawn_for_each_image_and_channel() -> None:
    noise = Noise(3, torch.device("cpu"), torch.float32)
    noise.log_sigma.data.zero_()
    y = noise(torch.ones(4, 3, 2, 2))
    assert len(y[:, :, 0, 0].unique()) == 12
    assert (y == y[:, :, :1, :1]).all()
    assert ((y > 0) & (y <= 1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_noise_the_network_computes_the_expectation(variant: str) -> None:
    model = noisy(variant).double().eval()
    for module in model.modules():
        if isinstance(module, Noise):
            module.mu.data.uniform_(-3, 0)
    plain = without_noise(model)
    assert not any(isinstance(module, NoisyConv | Noise) for module in plain.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(EXAMPLE.double()), model(EXAMPLE.double()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_filters_with_more_noise_than_signal_go(variant: str) -> None:
    model = noisy(variant)
    convs = [module for module in model.modules() if isinstance(module, NoisyConv)]
    for conv in convs:
        conv.noise.log_sigma.data[4:] = 3.0
    smaller, changes = Bayesian().prune(model, EXAMPLE, 0)
    assert next((c.before, c.after) for c in changes if c.reason is None) == (8, 4)
    assert all(change.after == 4 for change in changes if change.reason is None)
    assert smaller(EXAMPLE).shape == (2, 10)


def test_one_clear_filter_of_a_part_keeps_one_of_each_part() -> None:
    model = noisy("het-p4")
    convs = [module for module in model.modules() if isinstance(module, NoisyConv)]
    for conv in convs:
        conv.noise.log_sigma.data[1:] = 3.0
    _, changes = Bayesian().prune(model, EXAMPLE, 0)
    assert {change.after for change in changes if change.reason is None} == {4}


def test_where_all_signals_are_clear_nothing_is_removed() -> None:
    _, changes = Bayesian().prune(noisy(), EXAMPLE, 0)
    assert all(change.after == change.before for change in changes)


def test_the_bound_is_the_papers_over_the_number_of_images() -> None:
    model = noisy()
    sums = torch.stack([module.kl_divergence() for module in model.modules() if isinstance(module, Noise)])
    torch.testing.assert_close(EvidenceBound(50, (), 10.0).penalty(model), sums.sum() / 50)
    weights = torch.tensor([10.0, 10.0, 5.0, 5.0, *[1.0] * 9])
    torch.testing.assert_close(EvidenceBound(50, ACCELERATED_WEIGHTS, 1.0).penalty(model), (weights * sums).sum() / 50)


def test_its_training_is_the_papers() -> None:
    method = parse_method("sbpa")
    recipe = method.preparation(Recipe())
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size, recipe.weight_decay) == (300, 1e-5, 100, 0)
    model = noisy()
    objective = method.objective(model, EXAMPLE, 50_000)
    optimizer = objective.optimizer(model, recipe)
    assert isinstance(optimizer, torch.optim.Adam)
    weights, variational = optimizer.param_groups
    assert weights["betas"] == BETAS
    assert len(variational["params"]) == 26
    assert variational["lr_scale"] == pytest.approx(10)
    objective.begin(model)
    assert all(not module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert all(module.training for module in model.modules() if isinstance(module, Noise))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_noise_moves_as_far_in_a_short_training(schedule: str) -> None:
    recipe = replace(Bayesian().preparation(Recipe()), epochs=5, learning_rate=1e-4, schedule=schedule)
    model = noisy()
    objective = Bayesian().objective(model, EXAMPLE, 5_000)
    _, variational = objective.optimizer(model, recipe).param_groups
    rates = [recipe.learning_rate_at(step / 50) * variational["lr_scale"] for step in range(250)]
    assert sum(rates) == pytest.approx(NOISE_PATH, rel=0.02)  # the schedule is summed epoch by epoch
    _, variational = EvidenceBound(5_000, (), 7.0).optimizer(model, recipe).param_groups
    assert variational["lr_scale"] == 7


def test_a_short_training_leaves_more_noise_than_signal_in_filters_that_nothing_reads() -> None:
    """The KL alone moves their noise: from ln σ = −5 past the threshold."""
    model = NoisyConv(nn.Conv2d(3, 4, 3))
    objective = EvidenceBound(5_000, (), None)
    recipe = replace(Bayesian().preparation(Recipe()), epochs=5)
    optimizer = objective.optimizer(model, recipe)
    optimizer.param_groups[1]["lr"] = recipe.learning_rate * optimizer.param_groups[1]["lr_scale"]
    for _ in range(250):
        optimizer.zero_grad()
        objective.penalty(model).backward()
        optimizer.step()
    assert (model.noise.signal_to_noise() < 1).all()


def test_noise_stands_where_it_is_wanted_and_the_model_is_left_alone() -> None:
    model = create_model("resnet20_cifar", width=0.5)
    changed = with_noise(model, ["stages.0.conv1"])
    assert isinstance(changed.get_submodule("stages.0.conv1"), NoisyConv)
    assert isinstance(model.get_submodule("stages.0.conv1"), nn.Conv2d)


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"noise_rate": -1.0}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        Bayesian(**wrong)
