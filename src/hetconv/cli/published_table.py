"""A published table in the terminal, beside what is computed and what has been measured here."""

from __future__ import annotations

from rich.console import Console

from hetconv.cost import complexity
from hetconv.lab.models import create_model
from hetconv.lab.published import PublishedTable
from hetconv.lab.report import Row, summarize
from hetconv.lab.results import Results
from hetconv.table import NOTHING, Table


def print_published(table: PublishedTable, results: Results | None, console: Console) -> None:
    """Print one row a variant: published FLOPs and accuracies, computed FLOPs and MACs, accuracy measured here."""
    measured = {} if results is None else {row.variant: row for row in summarize(results)}
    rows = []
    for row in table.rows:
        counted = complexity(create_model(table.network, row.variant, table.num_classes), table.input_size)
        rows.append((
            row.variant,
            _millions(row.paper_flops),
            _millions(counted.paper_flops),
            _millions(counted.macs),
            _percent(row.accuracy),
            *(_percent(value) for value in row.replications or (None,) * len(table.replications)),
            _measured(measured.get(row.variant)),
        ))  # fmt: skip
    others = tuple(f"{name} %" for name in table.replications)
    headings = ("variant", "paper FLOPs, M", "here, M", "MACs, M", "paper %", *others, "here %")
    notes = (
        "paper FLOPs are the paper's count (multiply-adds, with biases); – is not published",
        *(f"source: {source}" for source in table.sources),
        _where(results),
    )
    console.print(table.title, highlight=False, markup=False)
    console.print(Table.of_rows(headings, rows, notes))


def _where(results: Results | None) -> str:
    if results is None:
        return "here %: nothing measured; give --results with a comparison's folder"
    settings, at = results.settings, results.circumstances
    return (
        f"here %: {settings.network} on {settings.data}, {settings.train_images:,} training images, "
        f"{settings.recipe.get('epochs')} epochs, last epoch, {len(settings.seeds)} seed(s), {at.processor}, {at.date}"
    )


def _millions(count: float | None) -> str:
    return NOTHING if count is None else f"{count / 1e6:.2f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _measured(row: Row | None) -> str:
    if row is None or row.accuracy is None:
        return NOTHING
    spread = "" if row.accuracy_std is None else f" ± {100 * row.accuracy_std:.2f}"
    return f"{100 * row.accuracy:.2f}{spread}"
