"""Networks that cannot be captured whole: the largest parts that can, the rest as it was, everything said."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from hetconv import convert_, deploy, load_deployed
from hetconv.deployment.deployed_part import DeployedPart
from hetconv.errors import HetconvError, UsageError

from .networks import Block, calls, choose_native, exact, het, images


class Decides(nn.Module):
    """Control flow by values around two blocks, one of them registered twice."""

    def __init__(self):
        super().__init__()
        self.one = Block()
        self.several = nn.ModuleList([self.one, nn.Sequential(het(), nn.ReLU())])
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.several[0](x)
        y = self.several[1](y) if y.sum() > 0 else self.several[1](-y)
        return self.linear(self.one(y).mean((2, 3)))


def test_the_largest_parts_are_deployed():
    model, x = exact(Decides()), images()
    deployed = deploy(model, x)
    report = deployed.report
    assert not report.whole
    assert [(left.name, left.reason) for left in report.left] == [
        ("", "its control flow depends on the values or sizes of its input")
    ]
    assert [checked.name for checked in report.checks] == ["one", "several.1", "", ""]
    assert [entry.name for entry in report.convolutions] == ["one.conv1", "one.conv2", "several.1.0"]
    assert calls(deployed, "one") == calls(deployed, "several.0") == ["contiguous", *["het_conv2d_packed"] * 2]
    with torch.no_grad():
        for batch in (x, images(3)):
            torch.testing.assert_close(deployed(batch), model(batch), rtol=1e-6, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    assert "not captured (1):\n  its control flow depends on the values" in str(report)


def test_saved_parts_load_into_the_network_that_they_are_of(tmp_path):
    model, x = exact(Decides()), images()
    deployed = deploy(model, x)
    deployed.save(tmp_path / "parts.safetensors")
    fresh = Decides()
    loaded = load_deployed(tmp_path / "parts.safetensors", fresh)
    assert torch.equal(loaded(x), deployed(x))
    assert loaded.report == deployed.report
    assert isinstance(fresh.one, Block)
    with pytest.raises(UsageError, match=r"holds parts of a network \(one, several.1\), whose own code is not saved"):
        load_deployed(tmp_path / "parts.safetensors")
    with pytest.raises(UsageError, match=r"model is not the network that .* was made of: "):
        load_deployed(tmp_path / "parts.safetensors", Block())


class Within(nn.Module):
    """A block in code that is not captured: y = block(…), and what the block was given is read again."""

    def __init__(self, block, listed=False):
        super().__init__()
        self.first, self.block, self.listed = het(), block, listed

    def forward(self, x):
        x = self.first(x if x.sum() < 1e9 else -x)
        given = [x, x * 2] if self.listed else x
        y = self.block(given)
        return y + (given[0] + given[1] if self.listed else given)


class Overwriting(nn.Module):
    """Overwrites the list that it is given, as YOLO's Detect does."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(het() for _ in range(2))

    def forward(self, x):
        for i in range(len(x)):
            x[i] = self.convs[i](x[i])
        return x[0] - x[1]


class Named(nn.Module):
    """Adds to its input under another name, through a view."""

    def __init__(self):
        super().__init__()
        self.conv = het()

    def forward(self, x):
        view = x.flatten(2)
        view += 1
        return self.conv(x)


READ = "which the network's code may read"


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (
            nn.Sequential(nn.ReLU(inplace=True), het()),
            "it changes its input in place, which the network's code may read",
        ),
        (Overwriting(), "it changes a list or dict that it is given, which the network's code may read"),
        (Named(), "add in place changes a tensor that is read through a view afterwards"),
    ],
)
def test_a_part_that_writes_to_what_it_is_given_is_left(block, reason):
    model, x = exact(Within(block, isinstance(block, Overwriting))), images()
    deployed = deploy(model, x)
    assert {left.name: left.reason for left in deployed.report.left}["block"] == reason
    assert all(entry.runs_on == "native" for entry in deployed.report.convolutions)
    with torch.no_grad():
        for batch in (x, images(3)):
            assert torch.equal(deployed(batch), model(batch.clone()))


def test_a_part_whose_copy_is_changed_by_its_caller_stays_a_copy():
    class Copying(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = het()

        def forward(self, x):
            return self.conv(x), x.clone().flatten(1)

    class Changes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Copying()

        def forward(self, x):
            y, copied = self.inner(x if x.sum() < 1e9 else -x)
            copied.zero_()
            return y + x

    model, x = exact(Changes()), images()
    deployed = deploy(model, x)
    assert [checked.name for checked in deployed.report.checks] == ["inner", "", ""]
    assert torch.equal(deployed(x.clone()), model(x.clone()))


def test_a_part_that_leaves_numbers_for_other_code_is_left():
    class Leaves(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.sizes = het(), []

        def forward(self, x):
            self.sizes[:] = [x.shape[2], x.shape[3]]
            self.height = x.shape[2]
            return self.conv(x)

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Leaves()

        def forward(self, x):
            y = self.inner(x if x.sum() < 1e9 else -x)
            return y * self.inner.height + self.inner.sizes[1]

    model = exact(Reads())
    deployed = deploy(model, images())
    left = {left.name: left.reason for left in deployed.report.left}
    assert left["inner"] == "it leaves something in its attribute sizes, which the network's code may read"
    for x in (images(), images(1, 4, 9, 3)):
        assert torch.equal(deployed(x), model(x))


def test_a_wrong_whole_is_not_deployed_though_its_parts_are_right(monkeypatch):
    """What only the network as a whole shows: here a part that writes to its input after it was checked."""
    run = DeployedPart.forward

    def forward(self, x):
        y = run(self, x)
        x.zero_()
        return y

    model, x = exact(Within(nn.Sequential(het()))), images()
    monkeypatch.setattr(DeployedPart, "forward", forward)
    with pytest.raises(HetconvError, match=r"^the network, deployed, is off by .* for a batch of 2, allowed"):
        deploy(model, x)


def test_a_module_that_is_called_in_several_ways_is_left():
    class Ways(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Optional()

        def forward(self, x):
            return self.inner(x) + self.inner(x, None if x.sum() > 1e9 else x)

    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = het()

        def forward(self, x, more=None):
            return F.relu(self.conv(x)) if more is None else self.conv(x)

    model, x = exact(Ways()), images()
    deployed = deploy(model, x)
    reasons = {left.name: left.reason for left in deployed.report.left}
    assert reasons["inner"] == "it is called in several ways, with other arguments or dimensions"
    assert torch.equal(deployed(x), model(x))


def test_a_module_that_is_given_a_size_is_left_since_other_images_have_others():
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Resized()

        def forward(self, x):
            return self.inner(x if x.sum() > 1e9 else -x, int(x.shape[2]))

    class Resized(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = het()

        def forward(self, x, size):
            return self.conv(x[:, :, : size // 2])

    model = exact(Sized())
    deployed = deploy(model, images())
    assert deployed.report.left[1].reason == "it is called with a number, which may be another one for other images"
    for x in (images(), images(1, 4, 10, 3)):
        assert torch.equal(deployed(x), model(x))


def test_code_that_reads_its_modules_attributes():
    """Numbers are kept; a module whose weights are read stays as it is."""

    class Reads(nn.Module):
        def __init__(self, key):
            super().__init__()
            self.one, self.other, self.key = het(), het(), key

        def forward(self, x):
            assert getattr(self.one, self.key) is not None
            return self.other(self.one(x) if x.sum() > 1e9 else self.one(-x))

    x = images()
    for key, parts in (("out_channels", ["one", "other", "", ""]), ("weight_spatial", ["other", "", ""])):
        model = exact(Reads(key))
        deployed = deploy(model, x)
        assert [checked.name for checked in deployed.report.checks] == parts
        assert torch.equal(deployed(x), model(x))
    assert [left.reason for left in deployed.report.left][1:] == ["the network's code reads its weight_spatial"]


def test_code_that_takes_no_channels_last_images_gets_others():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = het()

        def forward(self, x):
            return (self.conv(x) if x.sum() > 1e9 else self.conv(-x)).view(-1)

    model, x = exact(Views()), images()
    assert torch.equal(deploy(model, x)(x), model(x))


def test_convolutions_that_are_not_called_are_in_the_report():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = het(), nn.Conv2d(4, 8, 1)

        def forward(self, x):
            return self.used(x)

    entries = {entry.name: entry for entry in deploy(exact(Half()), images()).report.convolutions}
    assert (entries["unused"].runs_on, entries["unused"].reason) == ("module", "in no captured module, or never called")
    assert entries["unused"].layer == "Conv2d 4→8 1×1"


def test_a_converted_detection_network(monkeypatch):
    choose_native(monkeypatch, native=True)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=5).eval()
    convert_(model, 2)
    example = ([torch.rand(3, 96, 128)],)
    deployed = deploy(model, example)
    assert [checked.name for checked in deployed.report.checks] == ["backbone", "rpn.head", ""]
    assert {left.name for left in deployed.report.left} == {"", "rpn"}
    assert not [entry for entry in deployed.report.convolutions if entry.runs_on == "module"]
    with torch.no_grad():
        (right,), (got,) = model(*example), deployed(*example)
    assert right["boxes"].shape == got["boxes"].shape
    torch.testing.assert_close(got["scores"], right["scores"], rtol=1e-3, atol=1e-4)
