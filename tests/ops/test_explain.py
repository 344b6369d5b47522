"""`explain` says which path a call takes, what it executes, and why the others were refused."""

import pytest
import torch

from hetconv import HetPattern, explain
from hetconv.errors import UsageError

from .case import Case


def explained(case, **options):
    return explain(*case.tensors(), **{**case.options, **options})


@pytest.mark.parametrize(("p", "more"), [(1, 0), (2, 1 / 10), (4, 1 / 12), (8, 1 / 16)])
@pytest.mark.parametrize("arrangement", ["shifted", "blocked"])
def test_executed_macs(p, more, arrangement):
    """Decomposed runs the 1×1 on all M channels: M/P of them too many, of K²·M/P + M − M/P. At P4 8.3 %."""
    case = Case(HetPattern(16, 32, 3, p, arrangement), stride=2, padding=1, height=9, width=5)
    found = explained(case)
    positions = 2 * 5 * 3
    assert found.backend == "decomposed"
    assert found.macs == positions * 32 * (9 * 16 // p + 16 - 16 // p)
    assert found.executed_macs["decomposed"] == pytest.approx(found.macs * (1 + more), rel=1e-12)
    assert found.executed_macs["reference"] == positions * 32 * 16 * 9
    assert found.refused == {
        "native": "they compute in float32 and bfloat16, and x is torch.float64",
        "triton": "it is for NVIDIA GPUs and x is on cpu",
        "reference": "it executes a whole dense convolution; it is there to check the others",
    }


def test_reads_well():
    lines = str(explained(Case(HetPattern(16, 16, 3, 4), padding=1, batch=1, height=2, width=2))).splitlines()
    assert lines == [
        "takes: decomposed",
        "MACs of the layer: 3,072",
        "MACs executed by decomposed: 3,328 (+8.3%)",
        "MACs executed by reference: 9,216 (+200.0%)",
        "not native: they compute in float32 and bfloat16, and x is torch.float64",
        "not triton: it is for NVIDIA GPUs and x is on cpu",
        "not reference: it executes a whole dense convolution; it is there to check the others",
    ]


def test_takes_what_the_call_takes():
    case = Case(HetPattern(16, 16, 3, 4), batch=1)
    x, *weights = (tensor.float() for tensor in case.tensors())
    assert explain(x[0], *weights) == explain(x, *weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explain(x.bfloat16(), *weights) == explain(x, *weights)


def test_empty_batch():
    found = explained(Case(HetPattern(16, 16, 3, 4), batch=0))
    assert found.macs == 0
    assert "MACs executed by decomposed: 0 (+0.0%)" in str(found).splitlines()


def test_refuses_what_the_call_refuses():
    with pytest.raises(UsageError, match=r"^x has 7 channels; the weights are for in_channels=8$"):
        explain(torch.zeros(1, 7, 5, 5), torch.zeros(4, 2, 3, 3), torch.zeros(4, 6))
