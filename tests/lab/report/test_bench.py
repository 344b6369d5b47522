import io

import pytest
from rich.console import Console

from hetconv.errors import HetconvError
from hetconv.lab.report.bench import bench_table, draw_bench
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.records import Circumstances, Latency, load_record, save_record


def entry(runtime, variant, ms=None, **changes):
    if ms is None:
        return BenchEntry(runtime, variant, **changes)
    latency = Latency(ms, ms * 0.9, ms * 1.2, 20, "the runtime's own")
    return BenchEntry(runtime, variant, None, "grouped", latency, 120.0, 64_000_000, 2e-7)


def results(*entries):
    circumstances = Circumstances("2026-01-01", "a processor", 2, 1, "cpu", "float32", "own", 1, {"torch": "2.11"})
    return BenchResults(
        "vgg16_cifar", (3, 32, 32), 10, 1.0, ("dense", "het-p4"), {"dense": 313_000_000, "het-p4": 105_000_000},
        circumstances, entries,
    )  # fmt: skip


MIXED = results(
    entry("PyTorch", "dense", 10.0), entry("PyTorch", "het-p4", 4.0),
    entry("ncnn", "dense", reason="ncnn is not installed: pip install ncnn"), entry("ncnn", "het-p4", 5.0),
)  # fmt: skip


def test_rows():
    table = bench_table(MIXED)
    assert table.rows[1][2:-1] == ("4.00", "3.60 to 4.80", "2.50×", "120", "64", "2e-07")
    assert table.rows[2][4] == "–"  # no dense in that runtime
    assert table.notes[0] == "Not measured: ncnn, dense: ncnn is not installed: pip install ncnn."


@pytest.mark.parametrize("width", [80, 120])
def test_terminal(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(bench_table(MIXED))
    text = " ".join(console.file.getvalue().split())
    for words in ("Not measured: ncnn, dense: ncnn is not installed", "Fastest: het-p4 in PyTorch", "a processor"):
        assert words in text
    console.print(bench_table(results(entry("PyTorch", "dense", 1.0))))
    assert "Not measured: none." in console.file.getvalue()


def test_markdown_has_one_line_a_measured_entry():
    text = bench_table(MIXED).markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert {line.count("|") for line in table} == {10}
    assert "Not measured: ncnn, dense: ncnn is not installed" in text


def test_markdown_of_names_with_bars():
    text = bench_table(
        results(entry("a|b", "dense", 1.0), entry("ncnn", "dense", reason="\x1b[31mno | yes"))
    ).markdown()
    assert "a\\|b" in text
    assert "\x1b" not in text


def test_picture(tmp_path):
    draw_bench(MIXED, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(HetconvError, match="nothing was measured"):
        draw_bench(results(entry("ncnn", "dense", reason="missing")), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_records_read_back(tmp_path):
    save_record(MIXED, tmp_path / "bench.json")
    assert load_record(BenchResults, tmp_path / "bench.json") == MIXED
