"""What `convert_` swaps, with which P, and what it leaves untouched around it."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hetconv import HetConv2d
from hetconv.convert import Converted, convert_, convertible, swap_
from hetconv.errors import HetconvError, UsageError
from hetconv.nn import GroupwisePointwise
from hetconv.ops.weights import to_dense_weight


class Net(nn.Module):
    """A stem, two layers that can be converted and a 1×1; its control flow depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, bias=False))
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        steps = 1 + int(x.mean().item() > 0) if x.device.type != "meta" else 1
        for _ in range(steps):
            x = self.body[1](self.body[0](x))
        return self.head(self.body[2](x))


def names(entries):
    return [entry.name for entry in entries]


def reasons(report):
    return {entry.name: entry.reason for entry in report.skipped}


def state(model):
    return [(name, id(module)) for name, module in model.named_modules()]


def test_swaps_what_it_can_and_lists_the_rest():
    model = Net()
    report = convert_(model)
    assert report.converted == (
        Converted("body.0", (), "Conv2d 8→8 3×3", "p=4", 4, 4, 8 * 8 * 9 + 8, 8 * (2 * 9 + 6) + 8),
        Converted("body.2", (), "Conv2d 8→12 3×3", "p=4", 4, 4, 12 * 8 * 9, 12 * (2 * 9 + 6)),
    )
    assert reasons(report) == {
        "stem": "stem: p=4 does not divide in_channels=3, and nothing above 1 divides both 3 and 8",
        "head": "1×1: it has no larger kernels to replace",
    }
    assert isinstance(model.body[0], HetConv2d)
    assert isinstance(model.body[2], HetConv2d)
    assert type(model.stem) is nn.Conv2d
    assert model(torch.randn(2, 3, 9, 9)).shape == (2, 5, 4, 4)


@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_computes_the_same_if_the_rest_of_the_kernels_was_zero(arrangement):
    dense = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, (1, 5), padding=(0, 2))).double()
    for conv in (dense[0], dense[2]):
        het = HetConv2d.from_dense(conv, 4, arrangement)
        conv.weight.data = to_dense_weight(het.weight_spatial, het.weight_pointwise, het.pattern).detach()
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64)
    before = dense(x)
    convert_(dense, 4, arrangement=arrangement)
    assert dense[0].arrangement == arrangement
    torch.testing.assert_close(dense(x), before, rtol=0, atol=1e-14)


def test_training_step_moves_every_new_parameter():
    model = Net()
    convert_(model)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(2, 3, 9, 9)).square().mean().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_survives_a_second_conversion_a_copy_and_a_pickle():
    model = Net()
    convert_(model, 2)
    again = convert_(model, 4)
    assert again.converted == ()
    assert reasons(again)["body.0"] == "already HetConv (p=2)"
    x = torch.randn(1, 3, 9, 9)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))


@settings(deadline=None)
@given(in_channels=st.integers(1, 24), out_channels=st.integers(1, 24), p=st.integers(1, 30))
def test_p_is_the_largest_valid_one_up_to_the_one_asked_for(in_channels, out_channels, p):
    model = nn.Sequential(nn.Conv2d(in_channels, out_channels, 3))
    report = convert_(model, p)
    valid = [q for q in range(1, p + 1) if in_channels % q == 0 and out_channels % q == 0]
    stem = in_channels <= 3 and in_channels % p != 0
    if stem or valid[-1] == 1:
        assert report.converted == ()
        assert type(model[0]) is nn.Conv2d
        return
    (entry,) = report.converted
    assert entry.requested_p == p
    assert entry.p == model[0].p == valid[-1]
    assert str(valid[-1]) in entry.reason
    assert str(p) in entry.reason


def test_reasons_name_the_smaller_p_and_the_p_that_would_do():
    model = nn.ModuleDict({"a": nn.Conv2d(6, 9, 3), "b": nn.Conv2d(5, 5, 3), "c": nn.Conv2d(3, 48, 3)})
    report = convertible(model, 4)
    assert [(e.name, e.p, e.reason) for e in report.converted] == [
        ("a", 3, "p=3, the largest up to 4 that divides in_channels=6 and out_channels=9")
    ]
    assert reasons(report) == {
        "b": "p=4 does not divide in_channels=5 and out_channels=5; p_by_name can ask for p=5",
        "c": "stem: p=4 does not divide in_channels=3; p_by_name can ask for p=3",
    }
    assert names(convert_(model, 4, p_by_name={"b": 5, "c": 3}).converted) == ["a", "b", "c"]


def test_convertible_is_the_same_report_and_changes_nothing():
    model = Net()
    before = state(model)
    report = convertible(model, 8)
    assert state(model) == before
    assert convert_(model, 8) == report


def test_selection_by_name_glob_and_function():
    def converted(**arguments):
        return names(convertible(Net(), **arguments).converted)

    assert converted(include="body.2") == ["body.2"]
    assert converted(include=["body.0", "body.*"]) == ["body.0", "body.2"]
    assert converted(exclude="*.0") == ["body.2"]
    assert converted(include="body.*", exclude=("body.0", "body.2")) == []
    assert converted(where=lambda name, conv: conv.bias is None) == ["body.2"]
    left = reasons(convertible(Net(), include="body.*", exclude="*.0", where=lambda name, conv: False))
    assert (left["body.0"], left["body.2"]) == ("excluded by '*.0'", "refused by where")
    assert reasons(convertible(Net(), include="head"))["body.0"] == "not in include"


def test_p_by_name_takes_the_name_before_globs_and_the_first_glob():
    report = convertible(Net(), 4, p_by_name={"body.*": 2, "*.2": 4, "body.0": 8})
    assert [(e.name, e.p, e.requested_p) for e in report.converted] == [("body.0", 8, 8), ("body.2", 2, 2)]
    report = convertible(Net(), 4, p_by_name={"body.0": 1})
    assert reasons(report)["body.0"] == "p=1 is the standard convolution that it is"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include": "body.1*"}, r"include: 'body.1\*' matches no convolution; nearest: body"),
        ({"exclude": ["stem", "steam"]}, "exclude: 'steam' matches no convolution; nearest: stem"),
        ({"include": "body"}, r"include: 'body' matches no convolution; it holds convolutions: write 'body\.\*'"),
        ({"p_by_name": {"boddy.0": 2}}, "p_by_name: 'boddy.0' matches no convolution; nearest: body.0"),
        ({"p_by_name": {"body.0": 0}}, r"p_by_name\['body.0'\]=0 must be a positive integer"),
        ({"p": -1}, "p=-1 must be a positive integer"),
        ({"p": True}, "p=True must be a positive integer"),
        ({"p": 2.0}, "p=2.0 must be a positive integer"),
        ({"include": [3]}, r"include=\[3\] must be a name, a glob pattern"),
        ({"where": "body"}, "where='body' must be a function"),
        ({"arrangement": "diagonal"}, "arrangement='diagonal' must be one of shifted, blocked"),
    ],
)
def test_wrong_arguments_are_one_line_and_change_nothing(arguments, message):
    model = Net()
    before = state(model)
    with pytest.raises(UsageError, match=message) as caught:
        convert_(model, **arguments)
    assert "\n" not in str(caught.value)
    assert state(model) == before


def test_an_error_in_the_middle_leaves_the_model_untouched():
    model = Net()
    before = state(model)

    def where(name, conv):
        return 1 / (name != "body.2") > 0

    with pytest.raises(HetconvError, match=r"^where failed on body\.2: ZeroDivisionError"):
        convert_(model, where=where)

    def factory(name, conv):
        return GroupwisePointwise(conv.in_channels, conv.out_channels, 3, groups=8 if name == "body.0" else 3)

    with pytest.raises(
        UsageError, match=r"^cannot convert body\.2: in_channels=8 must be divisible by groups=3; nearest: 2 or 4$"
    ):
        swap_(model, factory)
    with pytest.raises(
        HetconvError, match=r"^cannot convert body\.0: KeyError: 'body\.0' \(test_convert\.py line \d+\)$"
    ):
        swap_(model, lambda name, conv: {}[name])
    with pytest.raises(UsageError, match=r"^cannot convert body\.0: factory returned None; it must return an nn\.M"):
        swap_(model, lambda name, conv: None)
    with pytest.raises(
        UsageError, match=r"^cannot convert body\.0: factory returned the convolution itself; exclude it"
    ):
        swap_(model, lambda name, conv: conv)
    assert state(model) == before


def test_swap_puts_other_blocks_in_the_same_places():
    def block(name, conv):
        return GroupwisePointwise(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=4
        )

    model, het = Net(), Net()
    report, expected = swap_(model, block, p=4), convert_(het, 4)
    assert report.skipped == expected.skipped
    assert names(report.converted) == names(expected.converted)
    assert [e.p for e in report.converted] == [4, 4]
    assert report.converted[0].params_after == sum(p.numel() for p in model.body[0].parameters())
    assert model(torch.randn(2, 3, 9, 9)).shape == (2, 5, 4, 4)
    free = swap_(Net(), block)
    assert [(e.name, e.p, e.requested_p) for e in free.converted] == [("body.0", None, None), ("body.2", None, None)]
    assert reasons(free)["stem"] == "stem: in_channels=3 is an image's"


def test_frozen_layers_and_modes_are_kept():
    model = Net()
    model.body[0].requires_grad_(False)
    model.body[2].weight.requires_grad_(False)
    model.body[2].eval()
    convert_(model)
    assert not any(p.requires_grad for p in model.body[0].parameters())
    assert not model.body[2].weight_spatial.requires_grad
    assert model.body[0].training
    assert not model.body[2].training
    assert model.stem.weight.requires_grad


def test_channels_last_is_kept():
    model = Net().to(memory_format=torch.channels_last)
    convert_(model)
    assert model.body[0].weight_spatial.is_contiguous(memory_format=torch.channels_last)
    y = model.body(torch.randn(2, 8, 9, 9).to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(dtype):
    model = Net().to(dtype)
    convert_(model)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model(torch.randn(1, 3, 9, 9, dtype=dtype)).dtype == dtype


def test_meta_device_is_kept():
    with torch.device("meta"):
        model = Net()
        convert_(model)
        assert model(torch.empty(1, 3, 9, 9)).shape == (1, 5, 4, 4)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_the_random_state_is_not_touched():
    model = Net()
    before = torch.get_rng_state()
    convert_(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_shared_modules_are_converted_once_and_stay_shared():
    conv, block = nn.Conv2d(8, 8, 3, padding=1), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    model = nn.ModuleDict({"a": nn.Sequential(conv, conv), "b": nn.Sequential(conv), "c": block, "d": block})
    report = convert_(model, p_by_name={"b.0": 8, "d.*": 2})
    assert [(e.name, e.aliases, e.p) for e in report.converted] == [("a.0", ("a.1", "b.0"), 8), ("c.0", ("d.0",), 2)]
    assert model["a"][0] is model["a"][1] is model["b"][0]
    assert isinstance(model["a"][0], HetConv2d)
    assert model["c"] is model["d"]
    assert "a.0 = a.1 = b.0" in str(report)


def test_containers_and_traced_graphs_find_the_new_layers():
    model = nn.ModuleList([nn.ModuleDict({"keys_": nn.Conv2d(8, 8, 3)}), nn.Sequential(nn.Conv2d(8, 8, 3))])
    assert names(convert_(model).converted) == ["0.keys_", "1.0"]
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()))
    x = torch.randn(1, 8, 5, 5)
    convert_(graph)
    assert torch.equal(graph(x), getattr(graph, "0")(x).relu())
    parallel = nn.DataParallel(nn.Sequential(nn.Conv2d(8, 8, 3)))
    assert names(convert_(parallel).converted) == ["0"]


def test_report_as_text():
    assert str(convertible(Net(), p_by_name={"body.2": 3})) == (
        "converted 2 of 4 convolutions; their parameters: 1,448 → 680\n"
        "\n"
        "converted (2):\n"
        "  name    layer            parameters  reason\n"
        "  body.0  Conv2d 8→8 3×3    584 → 200  p=4\n"
        "  body.2  Conv2d 8→12 3×3   864 → 480  p=2, the largest up to 3 that divides in_channels=8 and "
        "out_channels=12\n"
        "\n"
        "skipped (2):\n"
        "  stem: p=4 does not divide in_channels=3, and nothing above 1 divides both 3 and 8 (1):\n"
        "    stem\n"
        "  1×1: it has no larger kernels to replace (1):\n"
        "    head"
    )


def test_report_prints_empty_lists():
    assert str(convertible(nn.Sequential(nn.Conv2d(4, 4, 3)))).endswith("skipped (0):\n  none")
    assert "converted (0):\n  none\n" in str(convertible(nn.Sequential(nn.Conv2d(4, 4, 1))))
