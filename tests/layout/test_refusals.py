"""What cannot be moved: one line that names the place and the way out, and a model as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from hetconv import relayout
from hetconv.errors import UsageError

from .networks import check, het, image, whole


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8))

    def forward(self, x):
        return self.block(x) if x.sum() > 0 else x


class Shuffles(nn.Module):
    """As ShuffleNet does it."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.last = nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.block(self.stem(x))
        one, two = x.chunk(2, 1)
        return self.last(torch.cat((two, one), 1))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.other = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 1, 1)), nn.Linear(8, 2)

    def forward(self, x):
        return self.block(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.one, self.block = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), het(8, 8)
        self.other, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.last(self.block(self.one(self.stem(x)))) + self.other(self.stem(x))


class OneImage(nn.Module):
    """A layer that reads one image, without a batch."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 1), het(8, 8)

    def forward(self, x):
        return self.block(self.stem(x)[0]).amax(0)


class Twice(nn.Module):
    """A linear layer that reads channels in one place and something else in another."""

    def __init__(self):
        super().__init__()
        self.block, self.last = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8)), nn.Linear(8, 8)

    def forward(self, x):
        return self.last(self.block(x).mean((2, 3))) + self.last(x.flatten(1)[:, :8])


def hooked():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 2, 1))
    model[1].register_forward_hook(lambda *_: None)
    return model


def seen():
    """A hook reads channels between two layers, on a module that has no parameters."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    model[2].register_forward_hook(lambda module, inputs, output: output * torch.arange(8)[:, None, None])
    return model


class Reads(nn.Module):
    """A function reads what belongs to a layer that is moved."""

    def __init__(self, function):
        super().__init__()
        self.stem, self.one, self.two, self.last = nn.Conv2d(3, 8, 1), het(8, 8), het(8, 8), nn.Conv2d(8, 2, 1)
        self.plain, self.norm, self.function = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, affine=False), function

    def forward(self, x):
        return self.last(self.two(self.function(self, self.one(self.stem(x)))))


class NamedDimensions(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8))

    def forward(self, x):
        return self.block(x).permute(dims=(0, 2, 3, 1))


class Uncopied(nn.Sequential):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle a lock")


REFUSED = [
    (Uncopied(nn.Conv2d(3, 8, 1), het(8, 8)), "Uncopied cannot be copied", "TypeError: cannot pickle a lock"),
    (Branches(), "Branches cannot be captured by torch.fx", "make its forward traceable"),
    (Shuffles(), "chunk is not known to keep channels apart", "gather=True"),
    (nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8)), "the network's output keeps its order", "gather=True"),
    (nn.Sequential(het(8, 8), nn.Conv2d(8, 2, 1)), "0 (p=4) reads the network's input", "gather=True"),
    (
        nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 2, 1)),
        "2 is not known to keep channels apart",
        "gather=True",
    ),
    (
        nn.Sequential(nn.Conv2d(3, 8, 1), het(8, 8), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)),
        "2 is not known to keep channels apart",
        "gather=True",
    ),
    (OneImage(), "block reads something else than a batch of images", ""),
    (Unused(), "other has parameters, but is not reached by the forward pass", "what its channels mean is unknown"),
    (Tied(), "one.weight and other.weight are one parameter", "two orders"),
    (Twice(), "last.weight would change, but is also read where channels keep their order (last)", ""),
    (hooked(), "1 has a forward hook", "remove it first"),
    (seen(), "2 has a forward hook, which would meet channels in another order", "gather=True"),
    (
        Reads(lambda m, x: m.plain(x) + m.one.bias[:, None, None]),
        "one.bias would change, but is also read where",
        "(getitem)",
    ),
    (
        Reads(lambda m, x: functional.conv2d(x, m.plain.weight, m.one.bias)),
        "one.bias would change, but is also read by a function",
        "",
    ),
    (
        Reads(lambda m, x: m.norm(m.plain(x)) + m.norm.running_mean[1]),
        "norm.running_mean would change, but is also read where",
        "(getitem)",
    ),
    (NamedDimensions(), "permute is not known to keep channels apart", "gather=True"),
]


@pytest.mark.parametrize(("model", "reason", "way_out"), REFUSED, ids=lambda value: value if type(value) is str else "")
def test_refusals(model, reason, way_out):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UsageError) as error:
        relayout(model, "blocked")
    message = str(error.value)
    assert reason in message
    assert way_out in message
    assert "\n" not in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("index", [2, 3, 4, 5, 12, 16])
def test_gathers_are_the_way_out(index):
    model = REFUSED[index][0]
    check(model, image(8) if index == 4 else None, gather=True)


def test_group_norm_is_gathered_around():
    model = whole(REFUSED[6][0].double())
    with torch.no_grad():
        moved = relayout(model, "blocked", gather=True)
        torch.testing.assert_close(moved(image()), model(image()), rtol=1e-12, atol=1e-12)


def test_wrong_arguments():
    with pytest.raises(UsageError, match="to='grouped' must be one of shifted, blocked"):
        relayout(nn.Sequential(het(8, 8)), "grouped")
    with pytest.raises(UsageError, match="model is a int"):
        relayout(3, "blocked")
