"""One error budget: relative to the original's own error, in float64 where the network runs in it."""

import numpy as np
import pytest
import torch
from torch import nn

from hetconv.errors import HetconvError, UsageError
from hetconv.export import verify
from hetconv.graph import equality
from hetconv.graph.equality import other_batch, reference, tensors_in


class Cancelling(nn.Module):
    """Few right digits are left of its output, in any runtime."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.conv, self.offset = nn.Conv2d(3, 8, 3, padding=1), offset

    def forward(self, x):
        return (self.conv(x) + self.offset) - self.offset


class Casting(Cancelling):
    def forward(self, x):
        return super().forward(x.float())


def test_the_budget_follows_the_original_s_own_error():
    x = torch.randn(1, 3, 8, 8)
    plain, worse = (reference(Cancelling(offset).eval(), (x,)) for offset in (0.0, 30_000.0))
    assert plain.against == worse.against == equality.IN_FLOAT64
    assert 0 < plain.own_error < 1e-6
    # what is left of values near 0.5 after 30,000 was added: steps of 2⁻⁹, so errors of about 2⁻⁹ / √12
    assert 2e-4 < worse.own_error < 5e-3
    assert worse.budget == equality.FACTOR * worse.own_error + equality.FLOOR


def test_another_order_of_sums_is_within_the_budget_and_one_wrong_channel_is_not():
    torch.manual_seed(0)
    network, x = (
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval(),
        torch.randn(1, 64, 12, 12),
    )
    right = reference(network, (x,))
    with torch.no_grad():
        order = torch.randperm(64)
        network[0].weight.copy_(network[0].weight[:, order])
        assert right.error(network(x[:, order])) <= right.budget
        network[2].weight[5] *= 1.001
        assert right.error(network(x[:, order])) > right.budget


def test_a_network_that_casts_inside_is_compared_in_float32():
    network, x = Casting(0.0).eval(), torch.randn(2, 3, 8, 8)
    right = reference(network, (x,))
    assert right.against == equality.ITSELF
    assert right.budget >= equality.WITHOUT_FLOAT64
    assert torch.equal(right.exact[0], network(x))
    assert verify.reference(network, x).against == equality.ITSELF


def test_the_network_its_arguments_and_random_numbers_are_left_as_they_are():
    class Writes(nn.Module):
        def forward(self, x, found):
            found.append(x.add_(torch.rand_like(x)))
            return found

    x, found, state = torch.zeros(2, 3), [], torch.random.get_rng_state()
    right = reference(Writes(), (x, found))
    assert not x.any()
    assert not found
    assert torch.equal(torch.random.get_rng_state(), state)
    assert right.own_error == 0.0  # the same random numbers each time
    assert right.against == equality.ITSELF  # but others in float64


def test_what_is_not_finite_or_of_another_form():
    with pytest.raises(HetconvError, match="not finite"):
        reference(nn.Identity(), (torch.tensor([1.0, float("inf")]),))
    right = reference(nn.Identity(), (torch.ones(2),))
    assert right.error(torch.ones(3)) is None
    assert right.error([torch.ones(2), torch.ones(2)]) is None


def test_another_batch_size():
    one, mask = torch.arange(6.0).reshape(1, 2, 3), torch.ones(7)
    several = torch.stack((one[0], one[0] + 1))
    (two, same) = other_batch((one, mask))
    assert two.tolist() == [[[0, 1, 2], [3, 4, 5]], [[2, 1, 0], [5, 4, 3]]]
    assert same is mask
    (first, name) = other_batch((several, "text"))
    assert torch.equal(first, one)
    assert name == "text"
    assert other_batch(([one],)) is None
    assert other_batch(()) is None


def test_tensors_are_found_in_any_output():
    class Output:
        def __init__(self):
            self.boxes, self.label = torch.zeros(1), "x"

    one, other = torch.ones(1), torch.ones(2)
    assert [tensor.numel() for tensor in tensors_in({"a": (one, [other, 3]), "b": Output()})] == [1, 2, 1]


def test_an_export_is_allowed_what_the_original_is_off_by_and_not_more():
    """A runtime that is as near to float64 as PyTorch is."""
    network, x = Cancelling(30_000.0).eval(), torch.randn(1, 3, 8, 8)
    right = verify.reference(network, x)
    with torch.no_grad():
        got = network(x).numpy()
    (checked,) = verify.compare("some runtime", lambda _: got, [x], [right])
    assert checked.error > equality.FOREIGN_KERNELS
    assert checked.error <= checked.original_error < checked.allowed
    with pytest.raises(
        HetconvError, match=r"^some runtime differs from the original in float64 by .*, PyTorch itself by"
    ):
        verify.compare("some runtime", lambda _: got + np.float32(0.1), [x], [right])
    with pytest.raises(UsageError, match=r"^the model returns a list; export takes networks that return one tensor"):
        verify.reference(Listing(), x)


class Listing(nn.Module):
    def forward(self, x):
        return [x]
