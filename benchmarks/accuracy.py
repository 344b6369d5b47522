"""Write the page on accuracy and its pictures from the records of the CIFAR-10 studies.

python benchmarks/accuracy.py

It reads benchmarks/results/<study>/study-results.json, which `hetconv study report <study> --out <folder>` makes of the
runs' records, and writes docs/accuracy.md and docs/images/accuracy-*.png.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from pages import RESULTS, ROOT

from hetconv.lab.published import VGG16_CIFAR10
from hetconv.lab.report.figures import (
    accuracy_against_macs,
    accuracy_against_time,
    accuracy_against_training_macs,
    save_picture,
)
from hetconv.lab.report.numbers import percent_text, ratio_text
from hetconv.lab.report.summary import DENSE, Row, summarize
from hetconv.lab.report.wording import circumstances_text
from hetconv.lab.results import Results, StudyResults
from hetconv.lab.statistics import paired_accuracy, spread, verdicts
from hetconv.lab.statistics.runs import one_image, training_seconds
from hetconv.lab.statistics.signed import signed
from hetconv.records import load_record
from hetconv.table import NOTHING, Table

STUDIES = ("cifar10-94", "cifar10-half")
NOTES = {
    "cifar10-94": "The recipe's published 94.0 % is of six views of each test image, as is the column *with test "
    "views*. *Accuracy* is of one view, as everywhere else."
}
ORDER = {"does not hold": 0, "undecided": 1, "holds": 2}
"""What disagrees with the paper is said first."""
CHARTS = (accuracy_against_macs, accuracy_against_time, accuracy_against_training_macs)


def found(results: Path = RESULTS) -> list[StudyResults]:
    """The studies that have records."""
    paths = [results / name / "study-results.json" for name in STUDIES]
    return [load_record(StudyResults, path) for path in paths if path.is_file()]


def page(studies: Sequence[StudyResults]) -> str:
    """docs/accuracy.md, always the same for the same records."""
    lines = [
        "# Accuracy",
        "",
        "Real CIFAR-10: 50,000 training images, 10,000 test images. Every figure is that of the last epoch, never of",
        "the best one; nothing was chosen by test accuracy. `benchmarks/accuracy.py` writes this page from the records",
        "in `benchmarks/results`.",
        "",
    ]
    for study in studies:
        lines += _study(study)
    return "\n".join([*lines, *_published()])


def _study(study: StudyResults) -> Iterable[str]:
    (results,) = study.networks
    rows = summarize(results)
    done, asked = sum(row.runs_done for row in rows), sum(row.runs_of for row in rows)
    yield from [f"## {study.title}", "", f"Recipe: {study.recipe_source}. {NOTES.get(study.name, '')}".rstrip(), ""]
    yield f"{done} of {asked} runs are done. This command does the rest, on any machine:"
    yield from ["", "```sh", _command(study), "```", ""]
    judged = [verdict for verdict in verdicts(study) if verdict.claim.relation != "cheaper"]
    for verdict in sorted(judged, key=lambda verdict: ORDER[verdict.state]):
        yield f"- **{verdict.text}**: {verdict.claim.text}. {verdict.words}. Source: {verdict.claim.source}."
    yield ""
    titles = ("variant", "accuracy %", "to dense, points", "seeds", "MACs, M", "deployed, ms", "speed-up")
    yield Table.of_rows(
        (*titles, "with test views %", "eager, ms", "parameters, k", "training, s"),
        [(row.variant, *_accuracy(results, row), *_cost(row), *_rest(results, row)) for row in rows if row.runs_done],
    ).markdown()
    yield from ["Accuracy: mean ± standard deviation over seeds; difference: paired by seed, 95 % interval. Times: one"]
    yield f"interleaved run, {circumstances_text(results.circumstances)}."
    yield "Seconds of training are as they came, beside other work and with pauses: they compare nothing, and no claim"
    yield "on the time of training is judged. [What a step takes](training.md#what-a-step-takes) is measured apart."
    yield ""
    for chart in CHARTS:
        drawn = chart(results)
        if drawn.figure is not None:
            yield f"![{drawn.title}](images/{_picture(study, drawn.name)})"
    yield ""


def _command(study: StudyResults) -> str:
    return f"hetconv study run {study.name} --data cifar10:data --out benchmarks/results/{study.name}"


def _picture(study: StudyResults, name: str) -> str:
    return f"{study.name}-{name}.png"


def _accuracy(results: Results, row: Row) -> tuple[str, str, str]:
    pairs = None if row.variant == DENSE else spread(paired_accuracy(results, row.variant, DENSE), one_image(results))
    difference = NOTHING if pairs is None else signed(pairs.mean)
    if pairs is not None and pairs.low is not None and pairs.high is not None:
        difference += f" ({signed(pairs.low)} to {signed(pairs.high)})"
    return percent_text(row.accuracy, row.accuracy_std, 2), difference, str(row.runs_done)


def _cost(row: Row) -> tuple[str, str, str]:
    macs = NOTHING if row.macs is None else f"{row.macs / 1e6:.1f}"
    time = NOTHING if row.latency is None else f"{row.latency.median_ms:.2f}"
    return macs, time, ratio_text(row.speedup_measured)


def _rest(results: Results, row: Row) -> tuple[str, str, str, str]:
    eager = NOTHING if row.eager is None else f"{row.eager.median_ms:.2f}"
    params = NOTHING if row.params is None else f"{row.params / 1e3:.0f}"
    views = percent_text(row.views_accuracy, None, 2)
    return views, eager, params, f"{mean(training_seconds(results, row.variant).values()):.0f}"


def _published() -> Iterable[str]:
    table = VGG16_CIFAR10
    yield from ["## What others published", "", f"{table.title}, accuracy in %: {'; '.join(table.sources)}.", ""]
    yield Table.of_rows(
        ("variant", "paper", *table.replications),
        [
            (row.variant, *(NOTHING if value is None else f"{value:g}" for value in (row.accuracy, *row.replications)))
            for row in table.rows
            if row.accuracy is not None
        ],
    ).markdown()


def main() -> None:
    studies = found()
    (ROOT / "docs/accuracy.md").write_text(page(studies), encoding="utf-8")
    for study in studies:
        for chart in CHARTS:
            drawn = chart(study.networks[0])
            if drawn.figure is not None:
                save_picture(drawn, ROOT / "docs/images" / _picture(study, drawn.name))


if __name__ == "__main__":
    main()
