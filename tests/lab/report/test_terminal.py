import io
from dataclasses import replace

import pytest
from rich.console import Console

from hetconv.lab.report import print_layers, print_results
from hetconv.lab.results import Results

from .example import complexity, example, renamed, run


def printed(results: Results, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_row_is_one_line_of_80_columns() -> None:
    lines = printed(example()).splitlines()
    assert max(map(len, lines)) <= 80
    row, *further = (line for line in lines if line.startswith("het-p4  "))
    for text in ("2 of 2", "0.94", "99.45", "1.49", "1.90×"):
        assert text in row
    for text in ("1.45–1.58", "2.98×", "0.95"):
        assert any(text in line for line in further)


def test_numbers_of_imagenet_size_still_fit() -> None:
    results = example(variants=("dense", "het-p64-se"))
    costs = tuple(
        replace(
            cost,
            complexity=replace(cost.complexity, macs=15_470_000_000, params=138_360_000),
            latency=replace(cost.latency, median_ms=345.2, p20_ms=310.4, p80_ms=1398.2),
        )
        for cost in results.costs
    )
    settings = replace(results.settings, test_images=50_000)
    lines = printed(replace(results, settings=settings, costs=costs)).splitlines()
    assert max(map(len, lines)) <= 80
    row, *further = (line for line in lines if line.startswith("het-p64-se  "))
    assert row.endswith("138.36  2 of 2")
    assert any("1398" in line for line in further)


def test_circumstances_and_empty_lists_are_printed() -> None:
    text = printed(example())
    words = " ".join(text.split())
    assert "AMD EPYC 9R14, cpu, 1 thread, float32, channels_last, batch 1" in words
    assert "torch 2.11.0" in words
    assert "None: failed runs; unfinished runs; operations not counted in MACs;" in words


def test_failures_are_named() -> None:
    failed = replace(run("dense", 0, epochs=3, state="failed"), error="the loss became NaN")
    assert "  dense, seed 0, after 3 epochs: the loss became NaN" in printed(replace(example(), runs=(failed,)))


@pytest.mark.parametrize("name", ["[red]loud[/red]", "\x1b[31mloud", "[/nothing]"])
def test_names_cannot_style_the_terminal(name: str) -> None:
    text = printed(renamed(example(), "het-p4", name), width=200)
    assert name.replace("\x1b", "�") in text


def test_layers_of_a_model() -> None:
    console = Console(file=io.StringIO(), width=80)
    print_layers(replace(complexity(4), uncounted=("aten::roll",)), console, example().circumstances)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    row = next(line.split() for line in text.splitlines() if "features.18" in line)
    assert row == ["features.18", "het", "P4", "64", "→", "128", "3×3", "2×2", "98.30", "24.70", "0.015"]
    assert "Operations not counted in MACs:\n  aten::roll" in text
    assert "Total" in text


def test_layers_without_times() -> None:
    bare = complexity(1)
    bare = replace(bare, layers=tuple(replace(layer, latency_ms=None) for layer in bare.layers))
    console = Console(file=io.StringIO(), width=80)
    print_layers(bare, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "–" in next(line for line in text.splitlines() if "features.18" in line)
    assert "None: operations not counted in MACs." in text
