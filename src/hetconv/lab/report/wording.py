"""What was found, and what is missing, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hetconv.lab.report.numbers import accuracy_decimals, percent_text
from hetconv.lab.report.summary import DENSE, Row, dense_row, summarize
from hetconv.lab.results import Results, Run
from hetconv.lab.statistics import Verdict
from hetconv.records import Circumstances

DEFAULT = "het-p4"
FEW_SEEDS = {1: "One seed is", 2: "Two seeds are", 3: "Three seeds are", 4: "Four seeds are"}

SMALLEST_GAIN = 0.05
EQUAL_POINTS = 0.3
PRICE_POINTS = (1.5, 5.0)
"""Of accuracy lost: up to the first it is a choice, up to the second a price, beyond it a failure."""


@dataclass(frozen=True)
class Note:
    """A list; that it is empty is said too, in `absent`."""

    title: str
    items: tuple[str, ...]


def absent(found: Sequence[Note]) -> str:
    """The titles of the empty lists in one sentence; empty where every list has an item."""
    titles = [note.title[0].lower() + note.title[1:] for note in found if not note.items]
    return f"None: {'; '.join(titles)}." if titles else ""


def headline(results: Results) -> str:
    """One sentence on HetConv P4, else the study's first HetConv variant, else its first variant, against dense."""
    rows = summarize(results)
    if not any(row.runs_done or row.macs is not None for row in rows):
        return f"Nothing is finished yet: {_runs_of(rows)} are done, and no cost has been measured."
    subject = _subject(rows)
    if subject is None:
        return f"Only {DENSE} was studied: there is nothing to compare it with."
    decimals = accuracy_decimals(results.settings.test_images)
    dense = dense_row(rows)
    return f"{_speed(subject, dense)}; {_accuracy(subject, dense, decimals)}."


def further(results: Results) -> str:
    """Whether to use it; who is fastest and who is most accurate, and how far the number of seeds carries."""
    rows = summarize(results)
    decimals = accuracy_decimals(results.settings.test_images)
    sentences = [text for text in (advice(_subject(rows), dense_row(rows)),) if text]
    accuracies = [(row.accuracy, row) for row in rows if row.accuracy is not None]
    if len(accuracies) > 1:
        best = max(accuracies, key=lambda pair: pair[0])[1]
        text = percent_text(best.accuracy, best.accuracy_std, decimals)
        sentences.append(f"Most accurate on average: {best.variant}, {text} %.")
    speedups = [(row.speedup_measured, row.variant) for row in rows if row.speedup_measured is not None]
    if len(speedups) > 1:
        ratio, variant = max(speedups)
        sentences.append(f"Fastest measured: {variant}" + (f", {ratio:.1f}× dense." if variant != DENSE else "."))
    seeds = max((row.runs_done for row in rows), default=0)
    if seeds in FEW_SEEDS:
        sentences.append(f"{FEW_SEEDS[seeds]} too few to tell a small difference in accuracy from chance.")
    return " ".join(sentences)


def advice(row: Row | None, dense: Row | None) -> str:
    """Whether to use a variant in the place of the dense network, in words that follow the numbers."""
    if row is None or dense is None or None in (row.accuracy, dense.accuracy, row.speedup_measured):
        return ""
    assert row.accuracy is not None
    assert dense.accuracy is not None
    assert row.speedup_measured is not None
    lost, saved = 100 * (dense.accuracy - row.accuracy), 1 - 1 / row.speedup_measured
    points = f"{lost:.1f} points of accuracy"
    if saved < SMALLEST_GAIN:
        return f"Not worth it here: {row.variant} is not faster."
    if lost <= EQUAL_POINTS:
        return f"Worth it: {saved:.0%} less time, and the accuracy is kept."
    if lost <= PRICE_POINTS[0]:
        return f"Worth it if {saved:.0%} less time is worth {points} to you."
    if lost <= PRICE_POINTS[1]:
        return f"At a price: {saved:.0%} less time costs {points}; a smaller P or more training loses less."
    return f"Not worth it as it is: {points} are lost; train longer, or take a smaller P."


def notes(results: Results) -> tuple[Note, ...]:
    """What failed, what is unfinished and what was not counted."""
    seen = {(run.variant, run.seed) for run in results.runs}
    asked = [(variant, seed) for variant in results.settings.variants for seed in results.settings.seeds]
    unfinished = [_progress(run) for run in results.runs if run.state == "running"]
    unstarted: dict[str, list[str]] = {}
    for variant, seed in asked:
        if (variant, seed) not in seen:
            unstarted.setdefault(variant, []).append(str(seed))
    costed = {cost.variant for cost in results.costs}
    return (
        Note("Failed runs", tuple(_failure(run) for run in results.runs if run.state == "failed")),
        Note("Unfinished runs", (*unfinished, *(_unstarted(*one) for one in unstarted.items()))),
        Note(
            "Operations not counted in MACs",
            tuple(f"{cost.variant}: {name}" for cost in results.costs for name in cost.complexity.uncounted),
        ),
        Note(
            "Variants not deployed, so measured in eager PyTorch",
            tuple(f"{cost.variant}: {cost.not_deployed}" for cost in results.costs if cost.not_deployed is not None),
        ),
        Note(
            "Variants not measured",
            tuple(f"{row.variant}: {_unmeasured(row, costed)}" for row in summarize(results) if row.latency is None),
        ),
    )


def verdict_count(found: Sequence[Verdict]) -> str:
    """How many claims hold, do not, and are open."""
    states = [verdict.state for verdict in found]
    return (
        f"Of {len(states)} claims {states.count('holds')} hold{'s' * (states.count('holds') == 1)}, "
        f"{states.count('does not hold')} do{'es' * (states.count('does not hold') == 1)} not, "
        f"{states.count('undecided')} {'is' if states.count('undecided') == 1 else 'are'} undecided."
    )


def circumstances_text(circumstances: Circumstances) -> str:
    """One line: where times were measured, for a table's caption."""
    threads = f"{circumstances.threads} thread{'' if circumstances.threads == 1 else 's'}"
    versions = ", ".join(f"{name} {version}" for name, version in circumstances.versions.items())
    return (
        f"{circumstances.processor}, {circumstances.device}, {threads}, {circumstances.dtype}, "
        f"{circumstances.memory_format}, batch {circumstances.batch_size}; {versions or 'versions not recorded'}"
    )


def times_as_fast(ratio: float, than: str) -> str:
    """A ratio of times in words that do not flatter."""
    if 0.95 < ratio < 1.05:
        return f"about as fast as {than} ({ratio:.2f}×)"
    return f"{ratio:.1f}× as fast as {than}" if ratio > 1 else f"slower than {than} ({ratio:.2f}×)"


def _subject(rows: Sequence[Row]) -> Row | None:
    others = [row for row in rows if row.variant != DENSE]
    known = [row for row in others if row.runs_done or row.macs is not None]
    het = [row for row in known if row.variant.startswith("het")]
    default = [row for row in known if row.variant == DEFAULT]
    return next(iter([*default, *het, *known, *others]), None)


def _speed(row: Row, dense: Row | None) -> str:
    count = "" if row.speedup_theory is None else f"{row.speedup_theory:.1f}× by count"
    if row.speedup_measured is not None:
        measured = f"{row.variant} is {times_as_fast(row.speedup_measured, DENSE)}"
        if not count:
            return measured
        hidden = row.speedup_measured < 0.95 and (row.speedup_theory or 0) > 1
        return f"{measured}, though {count}" if hidden else f"{measured}, {count}"
    if dense is None:
        why = f"{DENSE} is not in this study"
    else:
        why = f"the time of {row.variant if row.latency is None else DENSE} was not measured"
    return f"{row.variant}: no measured speed-up, because {why}" + (count and f" ({count})")


def _accuracy(row: Row, dense: Row | None, decimals: int) -> str:
    if row.accuracy is None:
        return f"no run of {row.variant} is finished, so its accuracy is not known"
    own = percent_text(row.accuracy, row.accuracy_std, decimals)
    if dense is None or dense.accuracy is None:
        return f"accuracy {own} %, {_seeds(row.runs_done)}; that of {DENSE} is not known"
    other = percent_text(dense.accuracy, dense.accuracy_std, decimals)
    same = row.runs_done == dense.runs_done
    seeds = _seeds(row.runs_done) if same else f"{_seeds(row.runs_done)} against {dense.runs_done}"
    return f"accuracy {own} % against {other} %, {seeds}"


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _runs_of(rows: Sequence[Row]) -> str:
    return f"{sum(row.runs_done for row in rows)} of {sum(row.runs_of for row in rows)} runs"


def _progress(run: Run) -> str:
    return f"{run.variant}, seed {run.seed}: stopped or running after {_epochs(run)}"


def _unstarted(variant: str, seeds: Sequence[str]) -> str:
    return f"{variant}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}: not started"


def _failure(run: Run) -> str:
    why = run.error if run.error is not None else "no reason was recorded"
    return f"{run.variant}, seed {run.seed}, after {_epochs(run)}: {why}"


def _epochs(run: Run) -> str:
    return f"{len(run.epochs)} epoch{'' if len(run.epochs) == 1 else 's'}"


def _unmeasured(row: Row, costed: set[str]) -> str:
    return "no time" if row.variant in costed else "no cost and no time"
