"""The report's charts, made from records; also for saving as pictures.

Each chart says in words what it shows, and where it cannot be drawn says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from hetconv.lab.report.axes import report_style, save_figure
from hetconv.lab.report.numbers import accuracy_decimals, decimals_for, percent_text, ratio_text, scale_for
from hetconv.lab.report.summary import Row, summarize, training_macs
from hetconv.lab.results import Epoch, Results
from hetconv.lab.statistics.runs import training_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES: dict[str, Callable[[Epoch], float]] = {
    "curves-accuracy": lambda epoch: 100 * epoch.accuracy,
    "curves-loss": lambda epoch: epoch.train_loss,
}
"""What is drawn of every epoch, by the name of its chart."""


@dataclass(frozen=True)
class Chart:
    """A figure with its title, a line on how to read it, and its data in words; without a figure, `why_not` says why.

    `name` prefixes the ids in its SVG: `<name>-point-<slot>` and the like, slots as in `palette.looks`.
    """

    name: str
    title: str
    caption: str
    alternative: str
    figure: Figure | None
    why_not: str | None = None


def cost_charts(results: Results) -> tuple[Chart, ...]:
    """Accuracy against each cost, for a reader to choose from."""
    return (
        accuracy_against_time(results),
        accuracy_against_macs(results),
        accuracy_against_training(results),
        accuracy_against_training_macs(results),
    )


def further_charts(results: Results) -> tuple[Chart, ...]:
    """Every other chart of the report, in its order."""
    return speedup(results), accuracy_curves(results), loss_curves(results)


def accuracy_against_macs(results: Results) -> Chart:
    """Mean accuracy against multiply-adds."""
    scale = scale_for(row.macs for row in summarize(results))

    def place(row: Row) -> _Place | None:
        if row.macs is None:
            return None
        return _Place.at(row.macs / scale.divisor, f"at {scale.text(row.macs)} {scale.unit}")

    axis = f"multiply-adds of one image, {scale.unit}".rstrip(", ")
    return _against(
        results, "accuracy-macs", "Accuracy against MACs", axis, place, "no variant has both a finished run and a count"
    )


def accuracy_against_time(results: Results) -> Chart:
    """Mean accuracy against the measured time of one batch."""
    digits = decimals_for(row.latency.median_ms for row in summarize(results) if row.latency is not None)

    def place(row: Row) -> _Place | None:
        time = row.latency
        if time is None:
            return None
        bar = (min(time.p20_ms, time.median_ms), max(time.p80_ms, time.median_ms))
        return _Place(time.median_ms, bar, f"at {time.median_ms:.{digits}f} ms")

    return _against(
        results, "accuracy-time", "Accuracy against measured time",
        f"median time, batch {results.circumstances.batch_size}, ms", place,
        "no variant has both a finished run and a measured time", ", and p20 to p80 of the times",
    )  # fmt: skip


def accuracy_against_training(results: Results) -> Chart:
    """Mean accuracy against the mean time that one training took, that before pruning included."""

    def place(row: Row) -> _Place | None:
        seconds = list(training_seconds(results, row.variant).values())
        if not seconds or min(seconds) <= 0:
            return None
        middle = mean(seconds)
        return _Place(middle, (min(seconds), max(seconds)), f"after {middle:.4g} s of training")

    return _against(
        results, "accuracy-training", "Accuracy against training time", "time of one training, s", place,
        "no run is finished", ", and all runs’ times",
    )  # fmt: skip


def accuracy_against_training_macs(results: Results) -> Chart:
    """Mean accuracy against the multiply-adds of all training of one run, that before pruning included."""

    def place(row: Row) -> _Place | None:
        spent = training_macs(results, row)
        return None if spent is None else _Place.at(spent / 1e12, f"for {spent / 1e12:.4g} T MACs")

    return _against(
        results, "accuracy-training-macs", "Accuracy against training cost", "multiply-adds of all training, T", place,
        "no variant has both a finished run and a count",
    )  # fmt: skip


def speedup(results: Results) -> Chart:
    """Speed-up against dense, measured beside counted."""
    from hetconv.lab.report.bars import speedups

    rows = summarize(results)
    known = [row for row in rows if row.speedup_measured is not None or row.speedup_theory is not None]
    title = "Speed-up, measured beside counted"
    if not known:
        return _missing("speedup", title, "no cost has been measured")
    words = {
        row.variant: f"{_ratio(row.speedup_measured)} measured, {_ratio(row.speedup_theory)} by count" for row in known
    }
    caption = "Full bars: dense network’s median time over this variant’s. Outlines: the same ratio of MACs."
    return Chart("speedup", title, _caption(caption, rows, words), _sentence(title, words), speedups(known, "speedup"))


def accuracy_curves(results: Results) -> Chart:
    """Held-out accuracy after every epoch."""
    return _curves(results, "curves-accuracy", "Held-out accuracy", "Accuracy, %")


def loss_curves(results: Results) -> Chart:
    """Training loss of every epoch."""
    return _curves(results, "curves-loss", "Training loss", "Loss")


def save_picture(chart: Chart, path: Path, dots_per_inch: int = 200) -> None:
    """Write a chart as PNG on white, for a README.

    Raises:
        ValueError: there is nothing to draw; the message is the chart's `why_not`.
        HetconvError: the file cannot be written.
    """
    if chart.figure is None:
        raise ValueError(f"{chart.title}: {chart.why_not}")
    with report_style():
        save_figure(chart.figure, path, dots_per_inch)


@dataclass(frozen=True)
class _Place:
    """Where a variant stands on the axis of costs, with its spread, and how that is put in words."""

    x: float
    bar: tuple[float, float]
    words: str

    @classmethod
    def at(cls, x: float, words: str) -> _Place:
        """Without a spread."""
        return cls(x, (x, x), words)


def _against(results: Results, name: str, title: str, axis: str, place: Callable[[Row], _Place | None], why_not: str,
             and_bars: str = "") -> Chart:  # fmt: skip
    """Mean accuracy against a cost.

    Args:
        place: of a variant; None where its cost is not known.
        why_not: what is lacking where no variant has a place.
        and_bars: what else the bars show beside the spread over seeds.
    """
    from hetconv.lab.report.scatter import Spot, lowest_shown, scatter

    rows, decimals = summarize(results), accuracy_decimals(results.settings.test_images)
    spots, words = [], {}
    for row in rows:
        found = None if row.accuracy is None else place(row)
        if found is not None:
            spots.append(Spot(row.variant, found.x, found.bar, *_accuracy(row)))
            words[row.variant] = f"{_percent(row, decimals)} {found.words}"
    if not spots:
        return _missing(name, title, why_not)
    caption = f"Up and to the left is better. Bars: ± 1 standard deviation over seeds{and_bars}."
    if min(spot.accuracy for spot in spots) < lowest_shown([spot.accuracy for spot in spots]):
        caption += " ↓: lies so far below as the number says."
    figure = scatter(rows, spots, name, axis)
    return Chart(name, title, _caption(caption, rows, words), _sentence(title, words), figure)


def _curves(results: Results, name: str, title: str, axis: str) -> Chart:
    from hetconv.lab.report.curves import curves

    of = CURVES[name]
    rows = summarize(results)
    runs = [run for run in results.runs if any(isfinite(of(epoch)) for epoch in run.epochs)]
    if not runs:
        return _missing(name, title, "no epoch is finished")
    words = {
        f"{run.variant} seed {run.seed}": f"ends at {of(run.epochs[-1]):.4g} after epoch {run.epochs[-1].epoch}"
        for run in runs
    }
    single = max(len(run.epochs) for run in runs) == 1
    caption = "Thick: mean over seeds. Thin: each run." + (" One epoch only, so there are no lines yet." * single)
    return Chart(name, title, caption, _sentence(title, words), curves(rows, runs, of, name, axis))


def _accuracy(row: Row) -> tuple[float, float]:
    """Accuracy and its standard deviation in %, 0 where one run leaves it unknown."""
    accuracy = row.accuracy if row.accuracy is not None else 0.0
    return 100 * accuracy, 100 * row.accuracy_std if row.accuracy_std is not None else 0.0


def _percent(row: Row, decimals: int) -> str:
    return f"{percent_text(row.accuracy, row.accuracy_std, decimals)} %"


def _ratio(ratio: float | None) -> str:
    return "not" if ratio is None else ratio_text(ratio)


def _caption(text: str, rows: Sequence[Row], words: Mapping[str, str]) -> str:
    absent = [row.variant for row in rows if row.variant not in words]
    return f"{text} Not shown, for want of data: {', '.join(absent)}." if absent else text


def _sentence(title: str, words: Mapping[str, str]) -> str:
    return f"{title}: {'; '.join(f'{name} {text}' for name, text in words.items())}."


def _missing(name: str, title: str, why: str) -> Chart:
    return Chart(name, title, "", f"{title}: {why}.", None, why)
