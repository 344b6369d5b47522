"""Convolutions and models that are left alone, each with its reason."""

import types

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, prune

from hetconv import HetConv2d
from hetconv.convert import convert_, swap_
from hetconv.errors import UsageError


class Named(nn.Conv2d):
    """A subclass that changes nothing."""


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Standardized(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


class Computed(nn.Conv2d):
    """Libraries give a layer such a class after it was made."""

    @property
    def weight(self):
        return torch.ones(8, 8, 3, 3)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 8
        self.kernel_size = (3, 3)

    def forward(self, x):
        return x


def conv():
    return nn.Conv2d(8, 8, 3, padding=1)


def with_buffer():
    layer = conv()
    layer.register_buffer("gain", torch.ones(1))
    return layer


def with_gradient_hook():
    layer = conv()
    layer.weight.register_hook(lambda grad: grad)
    return layer


def with_own_forward():
    layer = conv()
    layer.forward = types.MethodType(lambda self, x: x, layer)
    return layer


def with_plain_weight():
    layer = conv()
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    return layer


def with_computed_weight():
    layer = conv()
    layer.__class__ = Computed
    return layer


def compiled():
    layer = conv()
    layer.compile(backend="eager")
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Conv2d(8, 8, 1), "1×1: it has no larger kernels to replace"),
        (lambda: nn.Conv2d(8, 8, 3, groups=8), "depthwise: each filter reads one channel only"),
        (lambda: nn.Conv2d(8, 16, 3, groups=8), "depthwise: each filter reads one channel only"),
        (lambda: nn.Conv2d(8, 8, 3, groups=2), "grouped (groups=2)"),
        (lambda: nn.Conv2d(8, 8, 4), "kernel_size=(4, 4) is even, without a centre tap"),
        (lambda: nn.Conv2d(8, 8, (3, 2)), "kernel_size=(3, 2) is even, without a centre tap"),
        (lambda: nn.Conv1d(8, 8, 3), "1-d (Conv1d); HetConv is 2-d"),
        (lambda: nn.Conv3d(8, 8, 3), "3-d (Conv3d); HetConv is 2-d"),
        (lambda: nn.ConvTranspose1d(8, 8, 3), "transposed (ConvTranspose1d)"),
        (lambda: nn.ConvTranspose2d(8, 8, 3), "transposed (ConvTranspose2d)"),
        (lambda: nn.LazyConv2d(8, 3), "lazy: its channels are unknown until a first forward pass; run one and"),
        (lambda: nn.LazyConvTranspose3d(8, 3), "lazy: its channels are unknown"),
        (lambda: HetConv2d(8, 8, 3, p=2), "already HetConv (p=2)"),
        (Foreign, "Foreign is not an nn.Conv2d"),
        (lambda: Doubled(8, 8, 3), ".Doubled overrides nn.Conv2d's forward"),
        (lambda: Standardized(8, 8, 3), ".Standardized overrides nn.Conv2d's _conv_forward"),
        (with_computed_weight, ".Computed overrides nn.Conv2d's weight"),
        (lambda: parametrizations.weight_norm(conv()), "parametrized (weight); torch.nn.utils.parametrize.remove_"),
        (lambda: parametrizations.spectral_norm(conv()), "parametrized (weight); torch.nn.utils.parametrize.remove_"),
        (lambda: nn.utils.spectral_norm(conv()), "SpectralNorm recomputes its weight; torch.nn.utils.remove_spectral"),
        (lambda: prune.l1_unstructured(conv(), "weight", 0.5), "pruned (L1Unstructured); torch.nn.utils.prune.remove"),
        (with_buffer, "it has parameters, buffers or children of its own: gain"),
        (with_gradient_hook, "its weight has a gradient hook; remove it, convert, and register it"),
        (with_own_forward, "its forward is replaced on this module alone"),
        (with_plain_weight, "its weight is a Tensor, not a Parameter"),
        (lambda: nn.Conv2d(8, 8, 3, dtype=torch.complex64), "its weight is torch.complex64, not floating-point"),
        (compiled, "compiled on its own; convert before torch.compile"),
    ],
)
def test_is_skipped_with_its_reason(make, reason):
    layer = make()
    model = nn.Sequential(layer, conv())
    report = convert_(model)
    (entry,) = report.skipped
    assert entry.name == "0"
    assert reason in entry.reason
    assert model[0] is layer
    assert [e.name for e in report.converted] == ["1"]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_old_weight_norm_is_skipped():
    """The deprecated form is still in many trained models, hence the filter."""
    report = convert_(nn.Sequential(nn.utils.weight_norm(conv())))
    assert (
        report.skipped[0].reason == "WeightNorm recomputes its weight; torch.nn.utils.remove_weight_norm makes it plain"
    )


@pytest.mark.parametrize(
    ("register", "kind"),
    [
        ("register_forward_hook", "forward hook"),
        ("register_forward_pre_hook", "forward pre-hook"),
        ("register_full_backward_hook", "backward hook"),
        ("register_full_backward_pre_hook", "backward pre-hook"),
        ("register_state_dict_post_hook", "state-dict hook"),
        ("register_state_dict_pre_hook", "state-dict pre-hook"),
        ("register_load_state_dict_pre_hook", "load-state-dict pre-hook"),
        ("register_load_state_dict_post_hook", "load-state-dict post-hook"),
    ],
)
def test_hooked_layers_are_skipped_until_the_hook_is_removed(register, kind):
    def watch(*args):
        return None

    model = nn.Sequential(conv())
    handle = getattr(model[0], register)(watch)
    (entry,) = convert_(model).skipped
    assert entry.reason.startswith(f"it has a {kind} (")
    assert entry.reason.endswith("; remove it, convert, and register it on the new layer")
    if handle is not None:
        handle.remove()
        assert convert_(model).skipped == ()


def test_hooks_around_a_layer_do_not_matter():
    seen = []
    model = nn.Sequential(nn.Sequential(conv()))
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    assert convert_(model).skipped == ()
    y = model(torch.randn(1, 8, 5, 5))
    assert seen[0] is y


def test_a_subclass_that_changes_nothing_is_converted():
    model = nn.Sequential(Named(8, 8, 3))
    expected = HetConv2d.from_dense(nn.Conv2d(8, 8, 3), 4)
    layer = model[0]
    assert convert_(model).converted[0].layer == "Named 8→8 3×3"
    assert type(model[0]) is HetConv2d
    assert model[0].pattern == expected.pattern
    assert torch.equal(model[0].bias, layer.bias)


def test_an_initialised_lazy_layer_is_converted():
    model = nn.Sequential(nn.LazyConv2d(8, 3))
    model(torch.randn(1, 8, 5, 5))
    assert convert_(model).converted[0].p == 4


def test_tied_weights_are_skipped():
    model = nn.ModuleDict({"a": conv(), "b": conv(), "c": nn.Module()})
    model["b"].weight = model["a"].weight
    model["c"].offset = model["b"].bias
    report = convert_(model)
    assert [e.reason for e in report.skipped] == [
        "weight is tied to b.weight, and conversion would untie them",
        "weight is tied to a.weight, and conversion would untie them",
    ]
    model["a"].weight = nn.Parameter(model["a"].weight.detach().clone())
    report = convert_(model)
    assert [e.name for e in report.converted] == ["a"]
    assert report.skipped[0].reason == "bias is tied to c.offset, and conversion would untie them"


def test_what_is_also_held_outside_the_registered_modules_is_skipped():
    """The model would go on using the old layer through its list."""
    model = nn.Sequential(conv(), conv(), conv())
    model.steps = {"first": [model[0]]}
    model.penalised = [model[1].weight]
    report = convert_(model)
    assert [(e.name, e.reason) for e in report.skipped] == [
        ("0", "also held in steps, outside the registered modules; register it as a module"),
        ("1", "weight is also held in penalised, and conversion would untie them"),
    ]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_layers_are_skipped():
    """PyTorch warns that eager quantization is going, hence the filter; models that use it are still met."""
    model = nn.Sequential(
        torch.ao.nn.quantized.Conv2d(4, 4, 3), torch.ao.nn.quantized.ConvTranspose2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    )
    report = convert_(model)
    assert [e.reason for e in report.skipped] == [
        f"quantized ({name}); convert the float model before quantizing it" for name in ("Conv2d", "ConvTranspose2d")
    ]


@pytest.mark.filterwarnings("ignore:`torch.jit.(script|trace|trace_method)` is deprecated:FutureWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, torch.randn(1, 8, 5, 5))])
def test_torchscript_is_refused_as_a_whole_and_skipped_as_a_part(script):
    """PyTorch warns that TorchScript is going, hence the filter; models saved with it are still met."""
    part = script(nn.Sequential(conv(), nn.Sequential(conv())))
    report = convert_(nn.Sequential(part, conv()))
    assert [e.name for e in report.skipped] == ["0.0", "0.1.0"]
    assert {e.reason for e in report.skipped} == {
        "TorchScript, whose code is fixed; convert the model before scripting it"
    }
    with pytest.raises(UsageError, match=r"model is TorchScript.*scripted or traced"):
        convert_(part)


def test_a_compiled_model_is_converted_inside():
    model = nn.Sequential(conv(), nn.ReLU(), conv())
    x = torch.randn(1, 8, 5, 5)
    compiled_model = torch.compile(model, backend="eager")
    before = compiled_model(x)
    report = convert_(compiled_model)
    assert [e.name for e in report.converted] == ["0", "2"]
    after = compiled_model(x)
    assert torch.equal(after, model(x))
    assert not torch.equal(after, before)


def test_a_compiled_layer_is_skipped():
    model = nn.Sequential(torch.compile(conv(), backend="eager"))
    assert convert_(model).skipped[0].reason == "compiled on its own; convert before torch.compile"


def test_distributed_wrappers_are_refused():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Sequential(conv()))
        with pytest.raises(UsageError, match=r"model is wrapped in DistributedDataParallel.*before wrapping it"):
            convert_(model)
        with pytest.raises(UsageError, match=r"model\.0 is wrapped in DistributedDataParallel"):
            convert_(nn.Sequential(model))
        sharded = fully_shard(nn.Sequential(conv()), mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(UsageError, match="model is wrapped in FSDPModule"):
            convert_(sharded)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(8, 8, 3), r"itself a convolution \(Conv2d 8→8 3×3\).*HetConv2d\.from_dense\(model, p\)"),
        (HetConv2d(8, 8, 3), "itself a convolution"),
        (nn.Linear(3, 3), "Linear has no convolutions"),
        (nn.Sequential(), "Sequential has no convolutions"),
        ("resnet18", "model is a str; it must be an nn.Module"),
        (nn.Conv2d, "model is a type; it must be an nn.Module"),
    ],
)
def test_models_that_cannot_be_converted(model, message):
    with pytest.raises(UsageError, match=message):
        convert_(model)
    with pytest.raises(UsageError, match=message):
        swap_(model, lambda name, conv: conv)
