import pytest
import torch
from torch.nn.functional import unfold

from hetconv import HetConv2d
from hetconv.adaptation.normal_equations import NormalEquations, kernels_of, weights_of
from hetconv.adaptation.patches import sample_patches
from hetconv.adaptation.refitted_layers import LinearLayer
from hetconv.pattern import HetPattern

ALL_PIXELS = 10**6
LAYERS = {
    "plain": {"padding": 1},
    "bias": {"padding": 1, "bias": True},
    "blocked": {"padding": 1, "arrangement": "blocked"},
    "stride and dilation": {"stride": (2, 1), "padding": 2, "dilation": 2, "bias": True},
    "no padding": {},
    "same": {"padding": "same"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "circular": {"padding": (1, 2), "padding_mode": "circular", "bias": True},
    "3×5 kernel": {"kernel_size": (3, 5), "padding": (1, 2)},
    "P is M": {"p": 8, "padding": 1},
    "P is 1": {"p": 1, "padding": 1},
}


def het(p=4, kernel_size=3, bias=False, **settings):
    return HetConv2d(8, 16, kernel_size, p=p, bias=bias, dtype=torch.float64, **settings)


def columns_of(pattern, filter_index):
    """The columns of `unfold` (channel by channel) that a filter reads, as the layer's definition has it."""
    taps, centre = pattern.taps, pattern.taps // 2
    own = [c * taps + t for t in range(taps) for c in pattern.spatial_channels(filter_index)]
    return own + [c * taps + centre for c in pattern.pointwise_channels(filter_index)]


def reference(layer, x, target):
    """Each filter's least squares by torch.linalg.lstsq, on all rows of `unfold`."""
    padded = LinearLayer.of(layer).padded(x)
    rows = unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride).transpose(1, 2).flatten(0, 1)
    wanted = target.permute(0, 2, 3, 1).flatten(0, 2)
    found = []
    for n in range(layer.out_channels):
        own = rows[:, columns_of(layer.pattern, n)]
        if layer.bias is not None:
            own = torch.cat([own, torch.ones(len(own), 1, dtype=own.dtype)], 1)
        found.append(torch.linalg.lstsq(own, wanted[:, n, None]).solution[:, 0])
    return torch.stack(found)


@pytest.mark.parametrize("settings", LAYERS.values(), ids=LAYERS)
def test_the_solution_is_that_of_lstsq(settings):
    layer = het(**settings)
    linear = LinearLayer.of(layer)
    x = torch.randn(6, 8, 11, 9, dtype=torch.float64)
    target = torch.randn_like(layer(x))
    equations = NormalEquations(layer.pattern, x.device)
    for part in (slice(0, 2), slice(2, 6)):  # the sums do not depend on the batches
        equations.add(*sample_patches(linear, x[part], target[part], ALL_PIXELS, torch.Generator()))
    system = equations.system() if layer.bias is not None else equations.system().without_constant()
    start = torch.zeros(layer.p, system.unknowns, 16 // layer.p, dtype=torch.float64)
    (solution,) = system.solve([start], 0.0)
    expected = reference(layer, x, target)
    if layer.bias is None:
        solution = torch.cat([solution, torch.zeros_like(solution[:, :1])], 1)
    spatial, pointwise, constant = weights_of(layer.pattern, solution)
    found = torch.cat([spatial.flatten(2).transpose(1, 2).flatten(1), pointwise, constant[:, None]], 1)
    torch.testing.assert_close(found[:, : expected.shape[1]], expected, rtol=0, atol=1e-9)  # float64, well conditioned


def test_the_residual_is_the_share_of_variance_left():
    layer = het()
    x = torch.randn(5, 8, 7, 7, dtype=torch.float64)
    target = torch.randn_like(layer(x)) + 3
    equations = NormalEquations(layer.pattern, x.device)
    equations.add(*sample_patches(LinearLayer.of(layer), x, target, ALL_PIXELS, torch.Generator()))
    kernels = kernels_of(layer.pattern, layer.weight_spatial.data, layer.weight_pointwise.data, None)
    mean = target.mean((0, 2, 3), keepdim=True)
    expected = (layer(x).detach() - target).square().sum() / (target - mean).square().sum()
    assert equations.system().residual(kernels) == pytest.approx(float(expected), rel=1e-12)


def test_a_drawn_pixel_comes_once_and_has_the_layers_own_output():
    layer = het(stride=2, padding=1, bias=True)
    x = torch.randn(3, 8, 9, 9, dtype=torch.float64)
    y = layer(x).detach()
    patches, targets = sample_patches(LinearLayer.of(layer), x, y, 7, torch.Generator())
    assert patches.shape == (21, 9, 8)
    assert targets.unique(dim=0).shape == targets.shape
    dense = layer.to_dense()
    found = torch.einsum("ntm,omt->no", patches, dense.weight.flatten(2)) + layer.bias
    torch.testing.assert_close(found, targets, rtol=0, atol=1e-12)


def test_kernels_and_weights_are_inverse():
    pattern = HetPattern(8, 16, (3, 5), 4)
    spatial, pointwise = torch.randn(pattern.spatial_shape), torch.randn(pattern.pointwise_shape)
    bias = torch.randn(16)
    found = weights_of(pattern, kernels_of(pattern, spatial, pointwise, bias))
    for one, other in zip(found, (spatial, pointwise, bias), strict=True):
        assert torch.equal(one.float(), other)


def test_a_singular_system_has_no_solution_without_a_ridge():
    layer = het()
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)  # 4 pixels
    equations = NormalEquations(layer.pattern, x.device)
    equations.add(*sample_patches(LinearLayer.of(layer), x, layer(x).detach(), ALL_PIXELS, torch.Generator()))
    system = equations.system().without_constant()
    start = torch.zeros(4, system.unknowns, 4, dtype=torch.float64)
    assert system.solve([start], 0.0) == []
    assert len(system.solve([start, start], 1e-3)) == 2


def test_a_channel_that_is_always_zero_keeps_its_weights():
    layer = het(padding=1)
    x = torch.randn(9, 8, 6, 6, dtype=torch.float64)
    x[:, 3] = 0
    equations = NormalEquations(layer.pattern, x.device)
    target = torch.randn_like(layer(x))
    equations.add(*sample_patches(LinearLayer.of(layer), x, target, ALL_PIXELS, torch.Generator()))
    start = kernels_of(layer.pattern, layer.weight_spatial.data, layer.weight_pointwise.data, None)[:, :-1]
    (solution,) = equations.system().without_constant().solve([start], 0.0)
    solution = torch.cat([solution, torch.zeros_like(solution[:, :1])], 1)
    spatial, _, _ = weights_of(layer.pattern, solution)
    own = [n for n in range(16) if n % 4 == 3]  # channel 3 is the first of part 3
    torch.testing.assert_close(spatial[own, 0], layer.weight_spatial.data[own, 0], rtol=0, atol=1e-12)
    assert (spatial[own, 1] - layer.weight_spatial.data[own, 1]).abs().max() > 0.01


def test_a_ridge_holds_the_solution_near_its_start():
    layer = het()
    x = torch.randn(9, 8, 6, 6, dtype=torch.float64)
    equations = NormalEquations(layer.pattern, x.device)
    target = torch.randn_like(layer(x))
    equations.add(*sample_patches(LinearLayer.of(layer), x, target, ALL_PIXELS, torch.Generator()))
    system = equations.system().without_constant()
    one = torch.ones(4, system.unknowns, 4, dtype=torch.float64)
    starts = [one, torch.zeros_like(one)]
    for found, start in zip(system.solve(starts, 1e9), starts, strict=True):
        torch.testing.assert_close(found, start, rtol=0, atol=1e-6)
    free, other = system.solve(starts, 0.0)
    torch.testing.assert_close(free, other, rtol=0, atol=1e-9)
