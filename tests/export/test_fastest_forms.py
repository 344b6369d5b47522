"""A form for each layer: layers that are alike are timed once, and the whole network decides."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hetconv import HetConv2d
from hetconv.errors import HetconvError
from hetconv.export import candidate
from hetconv.export.fastest_forms import LayerForm, choose, layer_kinds, slow_forms
from hetconv.runtimes import open_session

from .networks import image, small


@pytest.fixture(scope="module")
def kinds():
    """Of two layers that are alike, one of another stride, one with nothing to split and one of many parts."""
    torch.manual_seed(0)
    alike = [HetConv2d(8, 8, 3, padding=1, p=4).eval() for _ in range(2)]
    model = nn.Sequential(
        *alike, HetConv2d(8, 32, 3, 2, padding=1, p=2), HetConv2d(32, 32, 1, p=4), HetConv2d(32, 32, 3, p=32)
    )
    return alike[0], layer_kinds(model.eval(), torch.randn(2, 8, 8, 6))


def test_layers_that_are_alike_are_one_kind(kinds):
    found = kinds[1]
    assert [kind.names for kind in found] == [("0", "1"), ("2",), ("4",)]
    assert [kind.layer for kind in found] == [
        "het P4 8→8 3×3, 8×6", "het P2 8→32 3×3, stride 2, 8×6", "het P32 32→32 3×3, 4×3"
    ]  # fmt: skip
    assert [set(kind.models) for kind in found] == [{"grouped", "sliced", "dense"}] * 2 + [{"grouped", "dense"}]


@pytest.mark.parametrize("form", ["grouped", "sliced", "dense"])
def test_small_models_are_the_layer_alone(kinds, form):
    """Blocked, so of permuted channels: those of a kind's form agree with each other."""
    kind = kinds[1][0]
    x = np.random.default_rng(0).standard_normal(kind.shape, np.float32)
    y, grouped = (open_session("onnxruntime", kind.models[name], 1)(x) for name in (form, "grouped"))
    np.testing.assert_allclose(y, grouped, rtol=1e-5, atol=1e-5)
    assert y.min() == 0  # with the activation that follows
    graph = onnx.load_model_from_string(kind.models[form]).graph
    assert [node.op_type for node in graph.node].count("Conv") == {"grouped": 2, "sliced": 5, "dense": 1}[form]


def test_a_form_that_the_runtime_does_not_take_is_left_out(kinds):
    def load(model):
        if len(onnx.load_model_from_string(model).graph.node) > 4:
            raise ValueError("too many\nnodes")
        return open_session("onnxruntime", model, 1)

    (found,) = choose(kinds[1][:1], load)
    assert found.refused.keys() == {"sliced"}
    assert "too many nodes" in found.refused["sliced"]
    assert set(found.timed_ms) == {"grouped", "dense"}
    assert found.form == min(found.timed_ms, key=found.timed_ms.__getitem__)


def test_a_layer_that_the_runtime_takes_in_no_form(kinds):
    def load(_):
        raise ValueError("no such operator")

    with pytest.raises(HetconvError, match="0: ValueError: no such operator"):
        choose(kinds[1], load)


def test_far_slower_forms_need_no_whole_network():
    found = (
        LayerForm(("a", "b"), "", {"grouped": 1.0, "sliced": 1.2, "dense": 3.0}, "grouped", {}),
        LayerForm(("c",), "", {"grouped": 2.0, "dense": 1.0}, "dense", {"sliced": "no"}),
    )
    assert slow_forms(found) == {"dense": "its layers alone take 1.8 times as long as the fastest form's"}
    assert slow_forms(()) == {}


MIXED = "mixed: dense 1, grouped 1"


def test_one_form_for_all_where_the_whole_network_is_faster_so(monkeypatch):
    chosen = (LayerForm(("3",), "", {"grouped": 1.0, "dense": 1.1}, "grouped", {}),)
    chosen += (LayerForm(("6",), "", {"grouped": 1.1, "dense": 1.0}, "dense", {}),)
    whole = {"grouped": 2.0, "sliced": 3.0, "dense": 4.0, MIXED: 2.1}
    monkeypatch.setattr(candidate, "layer_kinds", lambda model, example: ())
    monkeypatch.setattr(candidate, "choose", lambda kinds, load: chosen)
    monkeypatch.setattr(candidate, "Candidate", lambda model, choice, *_: SimpleNamespace(session=choice.form))
    monkeypatch.setattr(candidate, "medians_in_turns", lambda timers: {name: whole[name] for name in timers})
    found = candidate.fastest(small(), "auto", (image(),), [], 1)
    assert found.name == found.candidate.session == "grouped"
    assert found.timed_ms == whole
    assert found.layers == chosen
