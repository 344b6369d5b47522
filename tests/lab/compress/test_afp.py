import math

import pytest
import torch
from torch import nn

from hetconv.errors import UsageError
from hetconv.lab.compress import AutoBalanced, parse_method
from hetconv.lab.compress.afp import Balance, balance_weights
from hetconv.lab.compress.filters import Parts, filter_rows, l1_norms
from hetconv.lab.models import create_model

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_weights_by_hand() -> None:
    """Norms 4, 1, 2, 8, two are kept: θ = 4, the second largest."""
    found = balance_weights(torch.tensor([4.0, 1.0, 2.0, 8.0]), Parts(), 2)
    expected = [-1.0, 1 + math.log(4), 1 + math.log(2), -1 - math.log(2)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_parts_have_a_threshold_of_their_own() -> None:
    found = balance_weights(torch.tensor([4.0, 10.0, 1.0, 20.0]), Parts(2), 1)
    expected = [-1.0, 1 + math.log(2), 1 + math.log(4), -1.0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_filter_of_zeros_has_a_finite_weight() -> None:
    assert torch.isfinite(balance_weights(torch.tensor([0.0, 0.0, 1.0]), Parts(), 1)).all()


@pytest.mark.parametrize("variant", ["dense", "het-p4"])
def test_the_two_terms_sum_to_zero_at_every_step(variant: str) -> None:
    """What is taken from the filters to prune is given to the others, and both feel it."""
    model = create_model("vgg16_cifar", variant, width=0.125).double()
    objective = AutoBalanced(0.5, alpha=1e-3).objective(model, EXAMPLE.double(), 100)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(5):
        to_prune, to_keep = objective.terms(model)
        assert to_prune.item() > 0
        assert abs((to_prune + to_keep).item()) <= 1e-14 * to_prune.item()
        loss = nn.functional.cross_entropy(model(EXAMPLE.double()), torch.tensor([1, 2])) + objective.penalty(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_filters_to_prune_shrink_and_the_others_grow() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())
    before = l1_norms(model[0]).detach()
    objective = Balance({"0": balance_weights(before, Parts(), 2)}, alpha=0.01)
    for _ in range(20):
        model.zero_grad()
        objective.penalty(model).backward()
        model[0].weight.data -= 0.1 * model[0].weight.grad
    prune = objective.weights["0"] > 0
    after = l1_norms(model[0]).detach()
    assert (after[prune] < before[prune]).all()
    assert (after[~prune] > before[~prune]).all()


def test_gradient_is_that_of_the_formula() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3).double())
    lambdas = balance_weights(l1_norms(model[0]).detach(), Parts(), 1)
    Balance({"0": lambdas}, alpha=0.5).penalty(model).backward()
    rows = filter_rows(model[0]).detach()
    squares = lambdas * rows.square().sum(1)
    prune = lambdas > 0
    tau = -0.5 * squares[prune].sum() / squares[~prune].sum()
    expected = 2 * torch.where(prune, 0.5 * lambdas, tau * lambdas)[:, None] * rows
    torch.testing.assert_close(model[0].weight.grad.flatten(1), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"share": 1.0}, r"share=1 must be above 0"), ({"alpha": 0}, "alpha=0"), ({"times": 0}, "times=")],
)
def test_wrong_settings(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AutoBalanced(**wrong)


def test_rounds_come_to_the_share() -> None:
    """Three quarters in two rounds: 16 filters, then 8, then 4. λ are those of the filters that are left."""
    method = parse_method("afp-75x2")
    assert (method.rounds, parse_method("afp-75").rounds) == (2, 1)
    model = create_model("vgg16_cifar", width=0.25)
    first, changes = method.prune(model, EXAMPLE, 0)
    assert (changes[0].before, changes[0].after) == (16, 8)
    _, changes = method.prune(first, EXAMPLE, 1)
    assert (changes[0].before, changes[0].after) == (8, 4)
    weights = method.objective(first, EXAMPLE, 100).weights["features.0.0"]
    assert (len(weights), int((weights > 0).sum())) == (8, 4)
