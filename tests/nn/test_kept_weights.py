"""In inference a layer keeps its packed weights, and no way of changing the weights goes unseen."""

import copy
import pickle

import pytest
import torch

from hetconv import HetConv2d
from hetconv.ops import native

pytestmark = pytest.mark.skipif(native.why_not_loaded() is not None, reason="the native kernels were not built")


def layer_and_input() -> tuple[HetConv2d, torch.Tensor]:
    torch.manual_seed(0)
    return HetConv2d(32, 48, 3, padding=1, p=4).eval(), torch.randn(1, 32, 5, 6)


def matches_the_dense_form(layer: HetConv2d, x: torch.Tensor) -> bool:
    """32·9/4 + 24 products each: a few roundings of the largest value."""
    expected = layer.to_dense()(x)
    return bool((layer(x) - expected).abs().max() <= 16 * torch.finfo(torch.float32).eps * expected.abs().max())


def packed(layer: HetConv2d) -> list[torch.Tensor]:
    return [tensor for _, tensor in layer._kept._packed.values()]


def half(layer: HetConv2d) -> None:
    layer.weight_spatial.mul_(0.5)


def through_data(layer: HetConv2d) -> None:
    layer.weight_pointwise.data.mul_(0.5)


def one_value_through_data(layer: HetConv2d) -> None:
    layer.weight_pointwise.data[17, 3] = 5.0


def signs_through_data(layer: HetConv2d) -> None:
    layer.weight_spatial.data.neg_()


def two_filters_swapped_through_data(layer: HetConv2d) -> None:
    layer.weight_spatial.data[[0, 16]] = layer.weight_spatial.data[[16, 0]]


def new_storage(layer: HetConv2d) -> None:
    layer.weight_spatial.data = torch.randn_like(layer.weight_spatial)


def new_parameter(layer: HetConv2d) -> None:
    layer.weight_pointwise = torch.nn.Parameter(torch.randn_like(layer.weight_pointwise))


def load(layer: HetConv2d) -> None:
    layer.load_state_dict(HetConv2d(32, 48, 3, padding=1, p=4).state_dict())


def optimize(layer: HetConv2d) -> None:
    with torch.enable_grad():
        layer(torch.ones(1, 32, 3, 3)).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()


def reset(layer: HetConv2d) -> None:
    layer.reset_parameters()


def reorder(layer: HetConv2d) -> None:
    layer.to(memory_format=torch.channels_last)
    layer.weight_spatial.mul_(2)


@pytest.mark.parametrize(
    "change",
    [
        half, through_data, one_value_through_data, signs_through_data, two_filters_swapped_through_data,
        new_storage, new_parameter, load, optimize, reset, reorder,
    ],
)  # fmt: skip
@torch.no_grad()
def test_a_change_of_the_weights_is_seen(change) -> None:
    layer, x = layer_and_input()
    assert matches_the_dense_form(layer, x)
    before = layer(x)
    change(layer)
    assert matches_the_dense_form(layer, x)
    assert not torch.equal(layer(x), before)


@torch.no_grad()
def test_unchanged_weights_are_packed_once() -> None:
    layer, x = layer_and_input()
    layer(x)
    (first,) = packed(layer)
    assert first.numel() >= layer.pattern.weights
    layer(x)
    assert packed(layer)[0] is first


@torch.no_grad()
def test_the_instruction_set_may_change() -> None:
    layer, x = layer_and_input()
    before = native.instruction_set()
    layer(x)
    native.choose_instruction_set("portable")
    try:
        assert matches_the_dense_form(layer, x)
    finally:
        native.choose_instruction_set(before)
    assert matches_the_dense_form(layer, x)


def test_training_keeps_nothing() -> None:
    layer, x = layer_and_input()
    layer(x)
    with torch.no_grad():
        layer.train()(x)
    assert not packed(layer)


@torch.no_grad()
def test_copies_start_empty_and_state_dicts_do_not_have_it() -> None:
    layer, x = layer_and_input()
    layer(x)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not packed(copied)
        assert torch.equal(copied(x), layer(x))
    assert set(layer.state_dict()) == {"weight_spatial", "weight_pointwise", "bias", "_extra_state"}


@pytest.mark.parametrize("shape", [(1, 31, 5, 6), (1, 32, 0, 6)])
@torch.no_grad()
def test_wrong_inputs_have_the_usual_errors(shape) -> None:
    from hetconv.errors import UsageError

    layer, _ = layer_and_input()
    layer.padding = (0, 0)
    with pytest.raises(UsageError):
        layer(torch.zeros(shape))


def test_inference_mode_and_a_layer_made_in_it() -> None:
    layer, x = layer_and_input()
    with torch.inference_mode():
        assert matches_the_dense_form(layer, x)
        made_inside = HetConv2d(32, 48, 3, padding=1, p=4).eval()
        assert matches_the_dense_form(made_inside, x)
    assert matches_the_dense_form(layer.requires_grad_(False), x)


@pytest.mark.parametrize("size", [64, 2048, 18_432, 18_433])
def test_constant_weights_have_each_their_own_hash(size) -> None:
    values = [0.0, -0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 8.5, 32.0, -2.0, 1e-30, float("inf"), *map(float, range(6, 32))]
    assert len({native.hash_of(torch.full((size,), value)) for value in values}) == len(values)


@torch.no_grad()
def test_a_fill_with_another_number_is_seen() -> None:
    layer, x = layer_and_input()
    for value in (2.0, 4.0, 3.0, 5.0, -0.0):
        for weight in (layer.weight_spatial, layer.weight_pointwise):
            weight.data.fill_(value)
        assert matches_the_dense_form(layer, x)


@torch.no_grad()
def test_weights_that_are_swapped_while_they_are_packed_and_then_restored_are_not_kept(monkeypatch) -> None:
    """As another thread's averaging does, arranged here: swapped when packing begins, restored when it ends."""
    layer, x = layer_and_input()
    pack = native.pack_weights

    def packing(*args):
        layer.weight_spatial.mul_(2)
        result = pack(*args)
        layer.weight_spatial.mul_(0.5)
        return result

    monkeypatch.setattr(native, "pack_weights", packing)
    layer(x)
    monkeypatch.undo()
    assert matches_the_dense_form(layer, x)
