import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from hetconv.errors import HetconvError
from hetconv.lab.report.figures import (
    Chart,
    accuracy_against_macs,
    accuracy_against_training_macs,
    cost_charts,
    further_charts,
    loss_curves,
    save_picture,
    speedup,
)
from hetconv.lab.report.palette import COLOURS, looks
from hetconv.lab.report.scatter import lowest_shown
from hetconv.lab.report.summary import summarize, training_macs
from hetconv.lab.report.svg import inline_svg
from hetconv.lab.results import Compression, Stage

from .example import cost, example

PAPER_MACS = {1: 313.74, 2: 175.23, 4: 105.98, 8: 71.35, 16: 54.04, 32: 45.38, 64: 41.05}


def crowded() -> tuple[Chart, ...]:
    """Seven variants whose costs and accuracies nearly meet, as in the paper's table."""
    names = {("dense" if p == 1 else f"het-p{p}"): macs for p, macs in PAPER_MACS.items()}
    results = example(variants=tuple(names))
    costs = tuple(
        replace(cost(name), complexity=replace(cost(name).complexity, macs=round(macs * 1e6)))
        for name, macs in names.items()
    )
    crowd = replace(results, costs=costs)
    return *cost_charts(crowd), *further_charts(crowd)


@pytest.mark.parametrize("chart", crowded(), ids=lambda chart: chart.name)
def test_no_label_covers_another(chart: Chart) -> None:
    assert chart.figure is not None
    renderer = FigureCanvasAgg(chart.figure).get_renderer()
    chart.figure.draw(renderer)
    axes = chart.figure.axes[0]
    legend = axes.get_legend()
    boxes = [text.get_window_extent(renderer) for text in (*axes.texts, *(legend.get_texts() if legend else ()))]
    assert len(boxes) >= 7
    inside = chart.figure.bbox
    assert all(inside.contains(*corner) for box in boxes for corner in (box.min, box.max))
    for i, box in enumerate(boxes):
        assert [j for j, other in enumerate(boxes[:i]) if Bbox.intersection(box, other) is not None] == []


def test_the_data_are_in_words() -> None:
    chart = accuracy_against_macs(example(variants=("dense", "het-p4")))
    assert chart.alternative.startswith("Accuracy against MACs: dense 98.4 ± 0.3 % at 2.81 M; het-p4 98.1")
    assert "0.94 M." in chart.alternative
    assert "dense 1.00× measured, 1.00× by count; het-p4 1.90× measured, 2.98× by count." in (
        speedup(example(variants=("dense", "het-p4"))).alternative
    )


def test_the_data_are_in_the_marks() -> None:
    chart = accuracy_against_macs(example(variants=("dense", "het-p4")))
    rows = summarize(example(variants=("dense", "het-p4")))
    assert chart.figure is not None
    marks = [line for line in chart.figure.axes[0].lines if (line.get_gid() or "").startswith("accuracy-macs-point")]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx([row.macs / 1e6 for row in rows])
    assert [line.get_ydata()[0] for line in marks] == pytest.approx([100 * row.accuracy for row in rows])


def test_what_is_not_shown_is_named() -> None:
    results = example(variants=("dense", "het-p4", "het-p8"))
    chart = accuracy_against_macs(replace(results, runs=results.runs[:4]))
    assert chart.caption.endswith("Not shown, for want of data: het-p8.")


def test_svg_is_xml_with_its_own_ids_and_labels() -> None:
    chart = loss_curves(example(variants=("dense", "het-p4")))
    assert chart.figure is not None
    root = ElementTree.fromstring(inline_svg(chart.figure, chart.name, chart.alternative))
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert all(name.startswith(chart.name) for name in ids)
    texts = [element.text for element in root.iter("text")]
    assert {"dense", "het-p4", "epoch", "Loss"} <= set(texts)
    assert root.find("metadata") is None


def test_each_variant_has_its_own_mark_and_dense_is_grey() -> None:
    seen = looks(
        ("dense", *(f"het-p{p}" for p in range(1, 6)), "het-p4-se", *(f"gwc{g}-pwc" for g in (2, 4)), "dwc-pwc")
    )
    assert seen["dense"].css == "var(--series-0)"
    assert len({look.marker for look in seen.values()}) == len(seen)
    assert "var(--series-0)" not in {look.css for look in looks(("het-p4",)).values()}


def test_a_method_has_one_colour() -> None:
    seen = looks(("dense", "het-p4", "gwc4-pwc", "dwc-pwc", "het-p8-se", "l1-50", "l1-70"))
    assert len({look.colour for look in seen.values()}) == 5
    assert seen["het-p4"].colour == seen["het-p8-se"].colour
    assert seen["l1-50"].colour == seen["l1-70"].colour


def test_colours_stand_out_from_their_ground() -> None:
    for name, light, dark in COLOURS:
        if name != "grid":
            assert contrast(light, "#ffffff") >= 3, name
            assert contrast(dark, "#14181d") >= 3, name


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("accuracies", "below"),
    [([93, 92, 91, 10], [10]), ([99.4, 99.2, 97.5, 97.2, 81.7], [81.7]), ([93, 80], []), ([93, 91], []), ([50], [])],
)
def test_what_lies_far_below_does_not_squeeze_the_rest(accuracies: list[float], below: list[float]) -> None:
    floor = lowest_shown(accuracies)
    assert [accuracy for accuracy in accuracies if accuracy < floor] == below


def test_an_outlier_stands_on_the_edge_with_its_accuracy() -> None:
    results = example(variants=("dense", "het-p4", "het-p8"))
    last = [run.epochs[-1] for run in results.runs]
    diverged = [replace(epoch, accuracy=0.1) if i >= 4 else epoch for i, epoch in enumerate(last)]
    runs = tuple(
        replace(run, epochs=(*run.epochs[:-1], epoch)) for run, epoch in zip(results.runs, diverged, strict=True)
    )
    chart = accuracy_against_macs(replace(results, runs=runs))
    assert chart.figure is not None
    axes = chart.figure.axes[0]
    assert axes.get_ylim()[0] > 90
    assert [text.get_text() for text in axes.texts] == ["↓ 10.0"]
    assert "↓" in chart.caption


def test_pictures_for_a_readme(tmp_path: Path) -> None:
    save_picture(accuracy_against_macs(example(epochs=2)), tmp_path / "macs.png")
    assert (tmp_path / "macs.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no variant has both a finished run and a count"):
        save_picture(accuracy_against_macs(replace(example(), runs=())), tmp_path / "none.png")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HetconvError, match="pip install matplotlib"):
        accuracy_against_macs(example(epochs=1))


def test_the_cost_of_training_counts_three_passes_an_image_and_epoch() -> None:
    """Of a compressed network, those of all its stages."""
    results = example(variants=("dense", "het-p4"))
    chart = accuracy_against_training_macs(results)
    rows = {row.variant: row for row in summarize(results)}
    epochs = len(next(run for run in results.runs if run.variant == "het-p4").epochs)
    spent = 3 * rows["het-p4"].macs * results.settings.train_images * epochs
    assert training_macs(results, rows["het-p4"]) == spent
    assert f"for {spent / 1e12:.4g} T MACs" in chart.alternative
    stage = Stage("train", results.runs[0].epochs, 100, 1000, 1.0)
    compression = Compression("l1", (stage, stage), (), 0.5, results.costs[0].complexity)
    compressed = replace(results, runs=tuple(replace(run, compression=compression) for run in results.runs))
    assert training_macs(compressed, rows["het-p4"]) == 2 * 3 * 1000 * 100 * len(stage.epochs)
