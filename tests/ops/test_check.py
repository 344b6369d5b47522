"""`hetconv check` passes here, and would not if a path were wrong."""

import re

import pytest

from hetconv.ops import check as module
from hetconv.ops import native
from hetconv.ops.check import NAMES, check

BEST = None if native.why_not_loaded() else native.instruction_set()


def test_passes():
    rows = list(check())
    assert [row for row in rows if not row.passed] == []
    assert {row.tensor for row in rows} == set(NAMES)


@pytest.mark.skipif(native.why_not_loaded() is not None, reason="the native kernels are not built")
def test_checks_every_instruction_set_and_leaves_the_one_that_was():
    native.choose_instruction_set("portable")
    try:
        backends = {row.backend for row in check()}
        assert native.instruction_set() == "portable"
    finally:
        native.choose_instruction_set(BEST)
    assert {"native (portable)", f"native ({re.sub('_(vnni|amx)$', '', str(BEST))})"} <= backends


@pytest.mark.parametrize(("fault", "error"), [(1.001, None), (float("nan"), float("inf"))])
def test_finds_a_wrong_path(monkeypatch, fault, error):
    real = module.het_conv2d

    def wrong(*tensors, backend, **options):
        output = real(*tensors, backend=backend, **options)
        return output if backend == "reference" else output * fault

    monkeypatch.setattr(module, "het_conv2d", wrong)
    first = next(check())
    assert not first.passed
    assert error is None or first.error == error
