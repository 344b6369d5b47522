"""Figures of whole networks against their bars, from records whose times are whole numbers."""

from pathlib import Path

import pytest

from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.records import Circumstances, Latency

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
TIMES = {
    "hetconv deployed": {"dense": 9.0, "het-p4": 4.0, "het-p8": 2.0},
    "ONNX Runtime, native": {"dense": 10.0, "het-p4": 3.0, "het-p8": 2.5},
    "PyTorch": {"dense": 20.0, "het-p4": 8.0, "het-p8": 7.0},
    "OpenVINO": {"dense": 12.0, "het-p4": 6.0, "het-p8": None},
    "ncnn": {"dense": 15.0, "het-p4": 5.0, "het-p8": 4.0},
}
PEAKS = {"hetconv deployed": 60_000_000, "PyTorch": 80_000_000}


def entry(runtime, variant, ms):
    if ms is None:
        return BenchEntry(runtime, variant, reason="not here")
    return BenchEntry(
        runtime, variant, latency=Latency(ms, ms, ms, 9, "own"), peak_bytes=PEAKS.get(runtime), error=2e-7
    )


def results(network, threads=1):
    at = Circumstances("2026-01-01", "a processor", 2, threads, "cpu", "float32", "own", 1, {})
    variants = ("dense", "het-p4", "het-p8")
    entries = tuple(entry(runtime, variant, ms) for runtime, row in TIMES.items() for variant, ms in row.items())
    return BenchResults(network, (3, 32, 32), 10, 1.0, variants, dict.fromkeys(variants, 1), at, entries)


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import networks

    return networks


WANTED = {
    "vgg16_cifar": [12 / 3, 5 / 3, 12 / 2],  # fastest dense, fastest other way to run P4, fastest dense
    "resnet34": [12 / 3, 15 / 3],  # fastest dense without Winograd, and with it
    "vgg16_features": [15 / 2],
    "resnet50": [12 / 3],
}


@pytest.mark.parametrize("network", WANTED)
def test_figures(networks, network):
    found = list(networks.figures(results(network)))
    assert [figure.found for figure in found] == WANTED[network]
    assert "reached" in found[0].row


def test_what_was_not_measured_has_no_figure(networks):
    """Without any of our ways."""
    given = results("resnet50")
    others = tuple(entry for entry in given.entries if entry.runtime not in networks.OURS)
    changed = BenchResults(**(vars(given) | {"entries": others}))
    assert list(networks.figures(changed)) == []
    assert list(networks.memory(changed)) == []


def test_page_and_picture(networks, tmp_path):
    every = [results("vgg16_cifar"), results("resnet50"), results("vgg16_cifar", threads=2)]
    text = networks.page(every)
    assert "| VGG-16, 32×32, P4, over the fastest dense | 2 | 4.00 | 3 | 3.5 | reached |" in text
    assert "| VGG-16, 32×32, het-p8 | 1 | 60 | 80 | 0.75 |" in text
    assert "| OpenVINO | 12.0 | 6.0 | – | 12.0 | 6.0 | – |" in text
    assert "| OpenVINO | 2e-07 | 2e-07 | – | 2e-07 | 2e-07 | – |" in text
    assert "| ncnn | – | – | – |" in text  # its memory, which is not in the record
    networks.draw(every[:2], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
