import pytest
import torch
from torch import nn

from hetconv import HetConv2d, complexity
from hetconv.errors import UsageError
from hetconv.lab.compress import Connection, sparse
from hetconv.lab.models import create_model
from hetconv.nn import SparseConv2d, SparseLinear

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("variant", "share"), [("dense", 0.9), ("het-p4", 0.5)])
def test_the_sparse_network_is_the_pruned_one(variant: str, share: float) -> None:
    model = create_model("vgg16_cifar", variant, width=0.125).eval()
    pruned, changes = Connection(share).prune(model, EXAMPLE, 0)
    left, stored = sum(c.after for c in changes), sum(c.before for c in changes)
    assert left == pytest.approx((1 - share) * stored, abs=2)
    found = sparse(pruned)
    assert sum(m.nonzeros for m in found.modules() if isinstance(m, SparseConv2d | SparseLinear)) == left
    with torch.no_grad():
        torch.testing.assert_close(found(EXAMPLE), pruned(EXAMPLE), rtol=1e-4, atol=1e-5)
    counted = complexity(found, (3, 32, 32))
    assert counted.uncounted == ()
    assert {layer.kind for layer in counted.layers} == {"sparse"}
    assert counted.macs < complexity(model, (3, 32, 32)).macs * 0.6


@pytest.mark.parametrize("conv", [
    nn.Conv2d(3, 5, 3, 2, 1), nn.Conv2d(4, 6, (1, 3), padding="same", bias=False), HetConv2d(4, 8, 3, 1, 1, p=4),
    nn.Conv2d(2, 3, 3, padding=2, dilation=2, padding_mode="reflect"),
])  # fmt: skip
@pytest.mark.parametrize("batch", [1, 3])
def test_sparse_layers_compute_the_same(conv: nn.Module, batch: int) -> None:
    x = torch.randn(batch, conv.in_channels, 7, 9, dtype=torch.float64)
    conv = conv.double()
    next(conv.parameters()).data[0] = 0
    with torch.no_grad():
        torch.testing.assert_close(SparseConv2d(conv)(x), conv(x), rtol=1e-12, atol=1e-12)
    linear = nn.Linear(5, 4).double()
    torch.testing.assert_close(SparseLinear(linear)(x[:, 0, :, :5].flatten(0, 1)), linear(x[:, 0, :, :5].flatten(0, 1)))


def test_what_is_zero_stays_zero() -> None:
    pruned, _ = Connection(0.8).prune(create_model("vgg16_cifar", "het-p4", width=0.125), EXAMPLE, 0)
    objective = Connection(0.8).retraining_objective(pruned)
    zeros = {name: p.detach() == 0 for name, p in pruned.named_parameters() if p.dim() > 1}
    optimizer = torch.optim.SGD(pruned.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        pruned(EXAMPLE).sum().backward()
        optimizer.step()
        objective.after_step(pruned)
    for name, mask in zeros.items():
        assert bool((pruned.get_parameter(name)[mask] == 0).all())


def test_rounds_leave_the_same_fraction_each() -> None:
    model = create_model("vgg16_cifar", width=0.125)
    method = Connection(0.75, times=2)
    first, _ = method.prune(model, EXAMPLE, 0)
    _, changes = method.prune(first, EXAMPLE, 1)
    weights = [p for p in first.parameters() if p.dim() > 1]
    every = sum(p.numel() for p in weights)
    assert sum(int(p.count_nonzero()) for p in weights) == pytest.approx(0.5 * every, abs=2)
    assert sum(c.after for c in changes) == pytest.approx(0.25 * every, abs=2)


def test_wrong_settings_and_networks() -> None:
    with pytest.raises(UsageError, match="share=1 must be above 0 and below 1"):
        Connection(1.0)
    with pytest.raises(UsageError, match="times=0 must be at least 1"):
        Connection(times=0)
    with pytest.raises(UsageError, match="is a grouped convolution, which is not run sparse"):
        Connection().check(create_model("vgg16_cifar", "gwc2-pwc", width=0.125), EXAMPLE)
