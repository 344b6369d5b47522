import io

import pytest
from rich.console import Console

from hetconv.lab.report.sensitivity import sensitivity_charts, sensitivity_table
from hetconv.lab.results import Probe, Sensitivity, SensitivityResults, SkippedProbe

from .example import example


def results(layers: int = 8, seen: bool | None = False) -> SensitivityResults:
    """Layer i loses i points at P=4, twice as many at P=8, and a tenth at a quarter of its filters."""
    probes = []
    for index in range(layers):
        for kind, value, loss in (("p", 4.0, 0.01), ("p", 8.0, 0.02), ("share", 0.25, 0.001)):
            accuracy = 0.9 - loss * index
            probes.append(Probe(f"features.{index}.0", kind, value, 8, 16, accuracy, 1.0, 1000))
    skipped = (
        SkippedProbe("stem", "p", 4.0, "p=4 does not divide"),
        SkippedProbe("stem", "p", 8.0, "it has 3 channels"),
    )
    found = Sensitivity(0.9, 0.5, 2000, 1000, tuple(probes), skipped)
    return SensitivityResults(
        "vgg16_cifar", "dense", "digits", "2 epochs on 800 images", seen, example().circumstances, found
    )


def test_the_table_has_a_row_a_layer() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(sensitivity_table(results()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.split() for line in text.splitlines()]
    assert ["Layer", "P=4", "P=8", "−25%"] in lines
    assert ["features.7.0", "83.0", "76.0", "89.3"] in lines
    words = " ".join(text.split())
    assert "P=8 of features.7.0 costs most, 14.0 points." in words
    assert "Removing 25% of features.7.0 costs most, 0.7 points." in words
    assert "on which it was not trained; unchanged it is 90.0 %" in words
    assert "not tried, P=4: stem (p=4 does not divide)" in words


@pytest.mark.parametrize(
    ("seen", "words"), [(True, "on which it was trained"), (None, "which it may have been trained on")]
)
def test_whether_the_images_were_trained_on_is_said(seen: bool | None, words: str) -> None:
    console = Console(file=io.StringIO(), width=400)
    console.print(sensitivity_table(results(seen=seen)))
    assert words in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_data_are_in_the_curves_and_in_words() -> None:
    by_p, by_share = sensitivity_charts(results())
    assert by_p.alternative.startswith(
        "Accuracy against P, one layer at a time (P=4, P=8): features.0.0 90.0 %, 90.0 %;"
    )
    assert by_p.figure is not None
    assert by_share.figure is not None
    lines = {line.get_gid(): line for line in by_p.figure.axes[0].lines}
    assert len(lines) == 8
    assert list(lines["sensitivity-p-7"].get_xdata()) == [1, 4, 8]
    assert list(lines["sensitivity-p-7"].get_ydata()) == pytest.approx([90, 83, 76])
    assert list(
        {line.get_gid(): line for line in by_share.figure.axes[0].lines}["sensitivity-share-7"].get_xdata()
    ) == [0, 25]


def test_the_six_that_fall_most_are_named() -> None:
    by_p, _ = sensitivity_charts(results())
    assert by_p.figure is not None
    assert {text.get_text() for text in by_p.figure.axes[0].get_legend().get_texts()} == {
        f"features.{index}.0" for index in range(2, 8)
    }
