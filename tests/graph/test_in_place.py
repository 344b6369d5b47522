"""Networks that write in place, drawn at random: every transformed form gives the same numbers, or is refused."""

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from hetconv import deploy, export_onnx, relayout
from hetconv.deployment import choose
from hetconv.errors import UsageError
from hetconv.ops import native

from .networks import DRAWN, Drawn, image, whole

BATCHES = (1, 3)


@pytest.fixture(autouse=True)
def _nothing_is_timed(monkeypatch):
    monkeypatch.setattr(choose, "_measure", lambda work: choose.Times(1.0, 2.0))


def drawn(steps, decides=False):
    """The network, where PyTorch can compute it: `view` does not take every memory layout."""
    model = whole(Drawn(steps, decides))
    with torch.no_grad():
        try:
            for batch in BATCHES:
                model(image(batch))
        except RuntimeError:
            assume(False)
    return model


def equal_to_the_original(model, changed):
    with torch.no_grad():
        for batch in BATCHES:
            x = image(batch)
            assert torch.equal(changed(x.clone()), model(x.clone()))


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="the native kernels were not built")
@settings(max_examples=settings.default.max_examples // 2)
@given(DRAWN, st.booleans())
def test_deployed(steps, decides):
    model = drawn(steps, decides)
    deployed = deploy(model, image())
    assert deployed.report.whole or deployed.report.left
    equal_to_the_original(model, deployed)


@given(DRAWN)
def test_moved_to_the_other_arrangement(steps):
    model = drawn(steps)
    try:
        moved = relayout(model, "blocked", gather=True)
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = None
        equal_to_the_original(model, moved)
    assert refusal is None or "in place" in refusal


@settings(max_examples=2, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # shrinking would export hundreds
@given(DRAWN)
def test_exported(steps):
    pytest.importorskip("onnxruntime")
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        report = export_onnx(drawn(steps), image(), Path(folder) / "network.onnx", form="grouped")
    assert report.checked
    assert all(checked.error <= 2**-22 for checked in report.checked)  # two roundings of float32
