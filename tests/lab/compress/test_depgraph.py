"""The sparse training of DepGraph, against Torch-Pruning's own and by hand."""

import pytest
import torch
from torch import nn

from hetconv.errors import UsageError
from hetconv.lab.compress import DepGraph, parse_method
from hetconv.lab.compress.group_sparsity import GroupSparsity, dense_weight
from hetconv.lab.compress.remove import Surgery
from hetconv.lab.models import create_model
from hetconv.lab.settings import Recipe

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", ["vgg16_cifar", "resnet18"])
def test_the_gradient_is_torch_prunings_own(network: str) -> None:
    """GroupNormPruner.regularize adds to the gradients; here a penalty has the same gradient."""
    from torch_pruning.pruner.algorithms.group_norm_pruner import GroupNormPruner
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    model = create_model(network, width=0.125) if network == "vgg16_cifar" else create_model(network)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.uniform_(0.5, 1.5)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    DepGraph(0.5, sparse=True, strength=0.3).objective(model, EXAMPLE, 100).penalty(model).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    importance = GroupMagnitudeImportance(p=2)
    GroupNormPruner(model, EXAMPLE, importance, reg=0.3, ignored_layers=[last]).regularize(model, alpha=16.0)
    expected = {name: p.grad for name, p in model.named_parameters() if bool(p.grad.any())}
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_by_hand() -> None:
    """Two filters of 1 and 2 in both layers: I = 1 and 2 over their mean's root, so γ = 16 and 1."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    first.weight.data = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    second.weight.data = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)
    model = nn.Sequential(first, nn.ReLU(), second, nn.Flatten())
    objective = DepGraph(sparse=True, strength=0.1).objective(model, torch.randn(1, 1, 2, 2), 10)
    penalty = objective.penalty(model)
    assert penalty.item() == pytest.approx(0.5 * 0.1 * 2 * (16 * 1 + 1 * 4))
    penalty.backward()
    assert first.weight.grad.flatten().tolist() == pytest.approx([0.1 * 16 * 1, 0.1 * 1 * 2])


def test_a_hetconv_network_has_the_penalty_of_its_dense_twin() -> None:
    model = create_model("vgg16_cifar", "het-p4", width=0.125)
    surgery = Surgery(model, EXAMPLE)
    names = [group.name for group in surgery.groups if group.reason is None]
    ours = GroupSparsity(surgery, names, 1.0, 16.0).penalty(model)
    twin = Surgery(model, EXAMPLE).twin
    theirs = GroupSparsity(Surgery(twin, EXAMPLE), names, 1.0, 16.0).penalty(twin)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    layer = model.get_submodule("features.3.0")
    assert layer.weight_pointwise.grad.abs().sum() > 0
    assert dense_weight(layer).shape == (16, 8, 3, 3)


def test_filters_that_matter_least_shrink_most() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    objective = DepGraph(0.5, sparse=True, strength=0.1).objective(model, torch.randn(1, 1, 8, 8), 10)
    before = model[0].weight.detach().flatten(1).norm(dim=1)
    order = objective.factors({name: dense_weight(model.get_submodule(name)) for name in ("0", "2")})["0"]
    objective.penalty(model).backward()
    model[0].weight.data -= 0.1 * model[0].weight.grad
    ratio = model[0].weight.detach().flatten(1).norm(dim=1) / before
    assert ratio.argsort().tolist() == order.argsort(descending=True).tolist()
    assert (order.min().item(), order.max().item()) == (pytest.approx(1), pytest.approx(16))


def test_its_place_in_the_course() -> None:
    recipe = Recipe(epochs=7, learning_rate=0.2)
    assert DepGraph(0.5).preparation(recipe) is None
    found = parse_method("depgraph-sparse-40").preparation(recipe)
    assert found is not None
    assert (found.epochs, found.learning_rate) == (7, pytest.approx(0.02))


@pytest.mark.parametrize(("wrong", "message"), [
    ({"share": 1.0}, "share=1 must be above 0"), ({"strength": 0.0}, "strength=0 must be above 0"),
    ({"alpha": 1.0}, "alpha=1 must be above 1"),
])  # fmt: skip
def test_wrong_settings(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DepGraph(**wrong)
