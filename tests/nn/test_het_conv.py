"""HetConv2d is what people know of nn.Conv2d; its dense equivalent says what is right."""

import copy
import math
import pickle

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from hetconv import HetConv2d, het_conv2d
from hetconv.errors import UsageError
from hetconv.ops import native


def layer(**options):
    return HetConv2d(**{"in_channels": 8, "out_channels": 12, "kernel_size": 3, "p": 4, **options})


def assert_same_function(one, other, x, *, exactly=True):
    """Outputs and gradients of x are equal; in float64 to rounding (72 products a sum) where sums are ordered anew."""
    results = []
    for module in (one, other):
        leaf = x.detach().requires_grad_()
        output = module(leaf)
        results.append((output, *torch.autograd.grad(output, leaf, torch.ones_like(output))))
    for got, right in zip(*results, strict=True):
        floor = 0 if exactly else 72 * torch.finfo(x.dtype).eps * right.abs().max()
        assert got.shape == right.shape
        assert (got - right).abs().max() <= floor


GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 3), "padding": (0, 2), "dilation": (2, 1)},
    {"padding": "same", "dilation": 2},
    {"padding": "same", "kernel_size": (5, 3)},
    {"padding": "valid", "kernel_size": (1, 3)},
    {"padding": 4, "bias": False},
]


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_equals_its_dense_convolution(options, padding_mode, arrangement):
    het = layer(**options, padding_mode=padding_mode, arrangement=arrangement, dtype=torch.float64)
    dense = het.to_dense()
    assert type(dense) is nn.Conv2d
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    assert_same_function(het, dense, x, exactly=False)
    assert_same_function(het, dense, x[0], exactly=False)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode"):
        assert getattr(het, name) == getattr(dense, name), name
    assert het.explain(x).macs == het.explain(x[:1]).macs * 2 == dense(x)[:, 0].numel() * het.pattern.weights


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_projection_is_the_inverse_of_to_dense(p, arrangement):
    het = layer(p=p, arrangement=arrangement, stride=2, padding=1, padding_mode="reflect")
    back = HetConv2d.from_dense(het.to_dense(), p, arrangement)
    assert repr(back) == repr(het)
    assert back.state_dict().keys() == het.state_dict().keys()
    assert all(torch.equal(back.state_dict()[name], value) for name, value in het.state_dict().items())


@pytest.mark.parametrize(
    ("given", "convert"), [(layer(), HetConv2d.to_dense), (nn.Conv2d(8, 12, 3), HetConv2d.from_dense)]
)
def test_conversion_owns_its_memory(given, convert):
    before = copy.deepcopy(given.state_dict())
    with torch.no_grad():
        for parameter in convert(given).parameters():
            parameter.zero_()
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())


def test_conversion_draws_no_random_numbers():
    dense = nn.Conv2d(8, 12, 3)
    before = torch.get_rng_state()
    HetConv2d.from_dense(dense, 4).to_dense()
    assert torch.equal(torch.get_rng_state(), before)


def test_conversion_keeps_mode_freezing_type_and_device():
    dense = nn.Conv2d(8, 12, 3, dtype=torch.float16).eval().requires_grad_(False)
    dense.bias.requires_grad_()
    for module in (HetConv2d.from_dense(dense, 4), HetConv2d.from_dense(dense, 4).to_dense()):
        assert not module.training
        wanted = {name: name == "bias" for name, _ in module.named_parameters()}
        assert {name: parameter.requires_grad for name, parameter in module.named_parameters()} == wanted
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float16}
    assert HetConv2d.from_dense(nn.Conv2d(8, 12, 3, device="meta"), 4).to_dense().weight.is_meta


def test_attributes():
    het = layer(kernel_size=[3, 5], stride=2, padding=(1, 0), dilation=(1, 2))
    assert (het.kernel_size, het.stride, het.padding, het.dilation) == ((3, 5), (2, 2), (1, 0), (1, 2))
    assert (het.in_channels, het.out_channels, het.p, het.arrangement) == (8, 12, 4, "shifted")
    assert het.weight_spatial.shape == (12, 2, 3, 5)
    assert het.weight_pointwise.shape == (12, 6)
    assert het.bias.shape == (12,)
    assert layer(bias=False).bias is None
    assert [name for name, _ in het.named_parameters()] == ["weight_spatial", "weight_pointwise", "bias"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "8, 12, kernel_size=(3, 3), stride=(1, 1), p=4"),
        ({"padding": "same", "bias": False}, "8, 12, kernel_size=(3, 3), stride=(1, 1), p=4, padding=same, bias=False"),
        (
            {"stride": 2, "padding": 1, "dilation": 2, "padding_mode": "circular", "arrangement": "blocked"},
            "8, 12, kernel_size=(3, 3), stride=(2, 2), p=4, padding=(1, 1), dilation=(2, 2), "
            "padding_mode=circular, arrangement=blocked",
        ),
    ],
)
def test_repr(options, text):
    assert repr(layer(**options)) == f"HetConv2d({text})"


def test_initial_weights_follow_the_true_fan_in():
    """Uniform in ±1/√fan_in, fan_in = 9·M/P + M − M/P, for every parameter; the same seed gives the same weights."""
    het = HetConv2d(64, 256, 3, p=8)
    assert het.fan_in == 9 * 8 + 56
    bound = 1 / math.sqrt(128)
    for parameter in het.parameters():
        count = parameter.numel()
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > bound * (1 - 20 / count)  # all nearer to 0: once in e^20 draws
        assert abs(parameter.mean()) < 6 * bound / math.sqrt(3 * count)  # six standard errors of the mean
    torch.manual_seed(7)
    right = [torch.empty_like(parameter).uniform_(-bound, bound) for parameter in het.parameters()]
    torch.manual_seed(7)
    het.reset_parameters()
    assert all(map(torch.equal, het.parameters(), right))


def test_p_1_starts_as_a_standard_convolution():
    torch.manual_seed(7)
    dense = nn.Conv2d(8, 12, 3)
    torch.manual_seed(7)
    het = layer(p=1)
    for got, right in ((het.weight_spatial, dense.weight), (het.bias, dense.bias)):
        # PyTorch computes the same bound as √3 · √(1/3) / √fan_in: a rounding or two apart
        assert (got - right).abs().max() <= 2 * torch.finfo(torch.float32).eps * right.abs().max()


def test_meta_device():
    het = layer(device="meta")
    assert het(torch.empty(2, 8, 9, 9, device="meta")).shape == (2, 12, 7, 7)
    het = het.to_empty(device="cpu")
    het.reset_parameters()
    assert het(torch.randn(2, 8, 9, 9)).isfinite().all()
    with torch.device("meta"):
        assert layer().state_dict()["_extra_state"].device.type == "cpu"
    het.load_state_dict(layer().state_dict(), assign=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(dtype):
    het = layer(padding=1).to(dtype)
    x = torch.randn(2, 8, 5, 5, dtype=dtype, requires_grad=True)
    het(x).sum().backward()
    assert {tensor.dtype for tensor in (het(x), x.grad, *(p.grad for p in het.parameters()))} == {dtype}
    with pytest.raises(UsageError, match=rf"^weight_spatial is {dtype} on cpu and x is torch.float32 on cpu; "):
        het(x.float())


def test_autocast_trains_float32_weights():
    het, x = layer(), torch.randn(2, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = het(x)
        assert output.dtype == het.to_dense()(x).dtype == torch.bfloat16
        assert het.explain(x).backend == ("native" if native.why_not_loaded() is None else "decomposed")
    output.sum().backward()
    assert {parameter.grad.dtype for parameter in het.parameters()} == {torch.float32}


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_channels_last(padding_mode):
    het = layer(padding=1, padding_mode=padding_mode, dtype=torch.float64)
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    right = het(x)
    assert right.is_contiguous()
    moved = het.to(memory_format=torch.channels_last)
    assert het.weight_spatial.is_contiguous(memory_format=torch.channels_last)
    got = moved(x.to(memory_format=torch.channels_last))
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert (got - right).abs().max() <= 72 * torch.finfo(torch.float64).eps * right.abs().max()
    got.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in het.parameters())


SAVERS = {
    "state_dict": (lambda module, path: torch.save(module.state_dict(), path), lambda path: torch.load(path)),
    "safetensors": (lambda module, path: save_file(module.state_dict(), path), load_file),
}


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("p", [1, 4, 8])
def test_state_dict_round_trip(saver, p, tmp_path):
    save, load = SAVERS[saver]
    het, other = (nn.Sequential(layer(out_channels=8, p=p), nn.ReLU()) for _ in range(2))
    save(het, tmp_path / "weights")
    assert other.load_state_dict(load(tmp_path / "weights")) == ([], [])
    assert_same_function(het, other, torch.randn(2, 8, 5, 5))


def test_safetensors_models(tmp_path):
    het, other = layer(p=1), layer(p=1)
    save_model(het, tmp_path / "weights")
    assert load_model(other, tmp_path / "weights") == (set(), [])
    assert_same_function(het, other, torch.randn(2, 8, 5, 5))


def test_p_1_has_no_pointwise_weights():
    """No parameter without elements: optimizers and sharding by rows (Muon, FSDP2) divide by sizes."""
    het, x = layer(out_channels=8, p=1), torch.randn(2, 8, 5, 5)
    assert het.weight_pointwise is None
    assert set(het.state_dict()) == {"weight_spatial", "bias", "_extra_state"}
    assert [tuple(weight.shape) for weight in het.weights()] == [(8, 8, 3, 3), (8, 0)]
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            assert torch.equal(het.train(mode)(x), het_conv2d(x, het.weight_spatial, None, het.bias))
    for other in (HetConv2d.from_dense(het.to_dense(), 1), copy.deepcopy(het)):
        assert_same_function(het, other, x)


def test_state_dict_holds_the_weights_and_what_they_mean():
    shapes = {name: tuple(value.shape) for name, value in layer().state_dict().items()}
    assert shapes == {"weight_spatial": (12, 2, 3, 3), "weight_pointwise": (12, 6), "bias": (12,), "_extra_state": (2,)}


@pytest.mark.parametrize(
    ("other", "has"),
    [({"p": 2}, "p=2, arrangement='shifted'"), ({"arrangement": "blocked"}, "p=4, arrangement='blocked'")],
)
def test_checkpoint_of_another_layer_is_refused_and_changes_nothing(other, has):
    model = nn.Sequential(layer())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError) as caught:
        model.load_state_dict(nn.Sequential(layer(**other)).state_dict())
    assert str(caught.value) == (
        f"the checkpoint's layer has {has} and this one p=4, arrangement='shifted'; build the model as the "
        f"checkpoint was trained"
    )
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_dense_checkpoint_is_refused():
    dense = nn.Sequential(nn.Conv2d(8, 12, 3))
    for strict in (True, False):
        with pytest.raises(UsageError) as caught:
            nn.Sequential(layer()).load_state_dict(dense.state_dict(), strict=strict)
        assert str(caught.value) == (
            "0.weight is a dense kernel; load it into the dense network and convert that (hetconv.convert_ or "
            "HetConv2d.from_dense)"
        )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies(copied):
    het = layer(arrangement="blocked", padding=1).eval()
    other = copied(het)
    assert repr(other) == repr(het)
    assert not other.training
    assert_same_function(het, other, torch.randn(2, 8, 5, 5))
    assert other.weight_spatial.data_ptr() != het.weight_spatial.data_ptr()


def test_saved_whole(tmp_path):
    het = layer()
    torch.save(het, tmp_path / "layer.pt")
    assert_same_function(het, torch.load(tmp_path / "layer.pt", weights_only=False), torch.randn(2, 8, 5, 5))


@pytest.mark.parametrize("options", [{}, {"padding": 1, "padding_mode": "reflect", "p": 1, "bias": False}], ids=str)
def test_compiles_in_one_graph(options):
    torch._dynamo.reset()
    het = layer(**options)
    compiled = torch.compile(het, fullgraph=True, backend="aot_eager")
    for x in (torch.randn(2, 8, 7, 7), torch.randn(3, 8, 9, 5), torch.randn(8, 7, 7)):
        assert_same_function(compiled, het, x)


def test_exports_with_any_batch_and_size(tmp_path):
    het = layer(padding=1, stride=2).eval()
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(het, (torch.randn(5, 8, 7, 11),), dynamic_shapes=(dynamic,))
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    for shape in ((2, 8, 7, 7), (9, 8, 12, 5)):
        x = torch.randn(shape)
        assert torch.equal(loaded(x), het(x))


def test_exports_for_decomposition():
    het = layer(padding="same").eval()
    program = torch.export.export(het, (torch.randn(2, 8, 7, 7),)).run_decompositions()
    x = torch.randn(2, 8, 7, 7)
    assert torch.equal(program.module()(x), het(x))


@pytest.mark.parametrize("p", [1, 4])
def test_every_parameter_trains(p):
    """Every parameter gets a gradient, as distributed training asks for."""
    het, x = layer(p=p), torch.randn(2, 8, 5, 5)
    for optimizer in (
        torch.optim.SGD(het.parameters(), 0.1, momentum=0.9, weight_decay=1e-4),
        torch.optim.AdamW(het.parameters(), 0.1, fused=True),
    ):
        before = [parameter.detach().clone() for parameter in het.parameters()]
        optimizer.zero_grad()
        het(x).pow(2).sum().backward()
        assert all(parameter.grad is not None for parameter in het.parameters())
        torch.nn.utils.clip_grad_norm_(het.parameters(), 1.0)
        optimizer.step()
        assert all((now != old).any() for now, old in zip(het.parameters(), before, strict=True))


def test_frozen_weights_get_no_gradient():
    het = layer()
    het.weight_spatial.requires_grad_(False)
    het(torch.randn(2, 8, 5, 5)).sum().backward()
    assert het.weight_spatial.grad is None
    assert het.weight_pointwise.grad is not None
    assert not het.requires_grad_(False)(torch.randn(2, 8, 5, 5)).requires_grad


def test_functional_call_and_torch_func():
    het = layer(dtype=torch.float64)
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    parameters = {name: parameter.detach() for name, parameter in het.named_parameters()}

    def loss(parameters):
        return torch.func.functional_call(het, parameters, (x,)).pow(2).sum()

    assert torch.equal(loss(parameters), het(x).pow(2).sum())
    gradients = torch.func.grad(loss)(parameters)
    het(x).pow(2).sum().backward()
    for name, parameter in het.named_parameters():
        floor = 72 * torch.finfo(torch.float64).eps * parameter.grad.abs().max()
        assert (gradients[name] - parameter.grad).abs().max() <= floor, name


def test_parametrized():
    het = nn.utils.parametrizations.weight_norm(layer(), "weight_spatial")
    het(torch.randn(2, 8, 5, 5)).sum().backward()
    assert all(parameter.grad is not None for parameter in het.parameters())


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_explains_the_padded_input(padding_mode):
    het = layer(padding=2, stride=2, padding_mode=padding_mode)
    found = het.explain(torch.randn(3, 8, 6, 9))
    assert found.macs == 3 * 4 * 6 * 12 * (9 * 2 + 6)


WRONG = {
    "in_channels=6 must be divisible by p=4; nearest p that divides in_channels=6 and out_channels=12: 3 or 6": {
        "in_channels": 6
    },
    "kernel_size=2 must be odd, to have a centre tap; nearest: 1 or 3": {"kernel_size": 2},
    "out_channels=0 must be a positive integer": {"out_channels": 0},
    "padding_mode='wrap' must be zeros, reflect, replicate or circular": {"padding_mode": "wrap"},
    "arrangement='grouped' must be one of shifted, blocked": {"arrangement": "grouped"},
    "stride=0 must be an integer of at least 1": {"stride": 0},
    "padding='same' needs stride=1, not stride=2; give padding as a number": {"padding": "same", "stride": 2},
    "dilation=-1 must be an integer of at least 1": {"dilation": -1},
}


@pytest.mark.parametrize("message", WRONG)
def test_errors(message):
    with pytest.raises(UsageError) as caught:
        layer(**WRONG[message])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (nn.Conv2d(8, 8, 3, groups=2), "groups=2 must be 1: a grouped convolution has no dense kernel to project"),
        (nn.ConvTranspose2d(8, 8, 3), "from_dense takes an nn.Conv2d, not ConvTranspose2d"),
        (nn.Linear(8, 8), "from_dense takes an nn.Conv2d, not Linear"),
        (layer(), "from_dense takes an nn.Conv2d, not HetConv2d"),
        (nn.Conv2d(8, 8, 4), "kernel_size=4 must be odd, to have a centre tap; nearest: 3 or 5"),
        (
            nn.Conv2d(3, 8, 3),
            "in_channels=3 must be divisible by p=4; nearest p that divides in_channels=3 and out_channels=8: 1",
        ),
    ],
)
def test_errors_of_from_dense(conv, message):
    with pytest.raises(UsageError) as caught:
        HetConv2d.from_dense(conv)
    assert str(caught.value) == message


def test_first_layer_without_native_kernels_says_so_once(monkeypatch):
    monkeypatch.setattr(native, "_load", lambda: "the native kernels were not built: no compiler")
    native.warn_if_missing.cache_clear()
    layer(device="meta")  # it does not run on the CPU
    with pytest.warns(UserWarning, match="^hetconv runs without .* not built: no compiler$") as said:
        nn.Sequential(layer(), layer())
    assert len(said) == 1
    native.warn_if_missing.cache_clear()


@pytest.mark.parametrize("p", [1, 3, 6, 7, 12])
def test_averaged_state_dicts_are_loaded(p) -> None:
    layers = [HetConv2d(84, 84, 3, p=p) for _ in range(10)]
    average = {key: sum(0.1 * layer.state_dict()[key] for layer in layers) for key in layers[0].state_dict()}
    layer = HetConv2d(84, 84, 3, p=p)
    layer.load_state_dict(average)
    assert torch.equal(layer.weight_spatial, average["weight_spatial"])


@pytest.mark.parametrize(
    "stored", [[2.5, 0.0], [float("nan"), 0.0], [4.0, 0.5], [4.0, 2.0], [4.0], [4.0, float("inf")]]
)
def test_a_stored_state_that_is_no_whole_number_is_refused(stored) -> None:
    layer = HetConv2d(8, 8, 3, p=4)
    state = layer.state_dict() | {"_extra_state": torch.tensor(stored)}
    with pytest.raises(UsageError, match=r"^the checkpoint's layer has \[P, arrangement\]=.*averaged\?$"):
        layer.load_state_dict(state)


def test_weight_says_which_weights_there_are() -> None:
    layer = HetConv2d(8, 8, 3, p=4)
    assert not hasattr(layer, "weight")
    with pytest.raises(AttributeError, match=r"^a HetConv2d has no weight: its weights are weight_spatial .*to_dense"):
        _ = layer.weight
    with pytest.raises(AttributeError, match=r"'HetConv2d' object has no attribute 'other'"):
        _ = layer.other


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_missing_weight_does_not_keep_it_from_being_compiled_whole(mode) -> None:
    layer, x = getattr(HetConv2d(8, 8, 3, p=4), mode)(), torch.randn(1, 8, 5, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))
