"""The report ends with the network's time before and after; no choice and no claim rests on noise."""

import sys

import pytest
import torch
from torch import nn

from hetconv import deploy, load_deployed
from hetconv.deployment import choose
from hetconv.deployment.before_and_after import before_and_after
from hetconv.deployment.deploy_report import BeforeAndAfter

CALM, BUSY = [4.0, 4.0, 4.1, 4.2], [4.0, 8.0, 16.0, 32.0]
DEPLOYED = [2.0, 2.0, 2.0, 2.0]


@pytest.fixture
def clock(monkeypatch):
    """Set what the clock gives, measurement by measurement."""

    def given(*measured):
        left = iter(measured)
        monkeypatch.setattr(
            sys.modules["hetconv.deployment.before_and_after"], "times_in_turns", lambda *_, **__: next(left)
        )

    return given


def compared():
    return before_and_after(nn.Identity(), nn.Identity(), (torch.ones(1),))


def test_a_calm_machine_is_measured_once(clock):
    clock({"eager": CALM, "deployed": DEPLOYED})
    found = compared()
    assert (found.eager_ms, found.deployed_ms, found.rounds, found.measured) == (4.05, 2.0, 4, 1)
    assert str(found) == (
        "This network: 4.050 ms in eager PyTorch, 2.000 ms deployed, 2.02 times as fast (medians of 4 rounds in turns)"
    )


def test_a_busy_machine_is_measured_again_and_the_calm_measurement_kept(clock):
    clock({"eager": BUSY, "deployed": DEPLOYED}, {"eager": CALM, "deployed": DEPLOYED})
    found = compared()
    assert (found.eager_ms, found.measured) == (4.05, 2)
    assert "not certain" not in str(found)


def test_a_machine_that_stays_busy_is_said_so(clock):
    clock(*[{"eager": BUSY, "deployed": DEPLOYED}] * 2)
    assert str(compared()).endswith(
        "not certain: the machine is busy, rounds lie 108% apart, also when measured again)"  # (20 − 7) / 12
    )


@pytest.mark.timed
def test_the_report_ends_with_it_and_a_file_keeps_it(tmp_path):
    deployed = deploy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 8, 8))
    timing = deployed.report.timing
    assert isinstance(timing, BeforeAndAfter)
    assert str(deployed.report).splitlines()[-1] == str(timing)
    deployed.save(tmp_path / "net.safetensors")
    assert load_deployed(tmp_path / "net.safetensors").report == deployed.report


@pytest.mark.timed
def test_it_can_be_left_out():
    deployed = deploy(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), timed=False)
    assert deployed.report.timing is None
    assert "This network" not in str(deployed.report)


@pytest.mark.parametrize(
    ("rounds", "runs_on", "measured"),
    [
        ([[(1.0, 2.0)] * 4], "native", 1),
        ([[(2.0, 1.0)] * 4], "PyTorch", 1),
        ([[(2.0, 1.0), (1.0, 2.0)] * 2, [(2.0, 1.0)] * 4], "PyTorch", 2),
        ([[(9.0, 1.0), (9.0, 1.0), (1.0, 2.0), (1.0, 2.0)]] * 2, "native", 2),
    ],
    ids=["ours wins", "PyTorch's wins", "PyTorch's wins when measured again", "chance decides"],
)
def test_kernels_are_not_chosen_by_chance(rounds, runs_on, measured, monkeypatch):
    left = [dict(enumerate(map(list, zip(*pairs, strict=True)))) for pairs in rounds]
    count = len(left)
    monkeypatch.setattr(choose, "times_in_turns", lambda *_, **__: left.pop(0))
    monkeypatch.setattr("hetconv.deployment.find_parts.call_is_faster", lambda *_: (False, choose.Times(2.0, 1.0)))
    (entry,) = deploy(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)).report.convolutions
    assert entry.runs_on == runs_on
    assert count - len(left) == measured
    assert ("for certain" in entry.reason) == (runs_on == "native" and measured == 2)
