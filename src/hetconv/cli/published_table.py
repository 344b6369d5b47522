"""A published table in the terminal, beside what is computed and what has been measured here."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hetconv.cost import complexity
from hetconv.lab.models import create_model
from hetconv.lab.published import PublishedTable
from hetconv.lab.report import Row, summarize
from hetconv.lab.results import Results
from hetconv.plain_text import visible


def print_published(table: PublishedTable, results: Results | None, console: Console) -> None:
    """Print one row a variant: published FLOPs and accuracies, computed FLOPs and MACs, accuracy measured here."""
    measured = {} if results is None else {row.variant: row for row in summarize(results)}
    grid = Table(title=table.title, box=None, pad_edge=False)
    grid.add_column("variant", no_wrap=True)
    for heading in ("paper FLOPs", "here", "MACs", "paper %", *(f"{name} %" for name in table.replications), "here %"):
        grid.add_column(heading, justify="right")
    for row in table.rows:
        counted = complexity(create_model(table.network, row.variant, table.num_classes), table.input_size)
        grid.add_row(
            row.variant,
            _millions(row.paper_flops),
            _millions(counted.paper_flops),
            _millions(counted.macs),
            _percent(row.accuracy),
            *(_percent(value) for value in row.replications or (None,) * len(table.replications)),
            _measured(measured.get(row.variant)),
        )
    console.print(grid)
    console.print("paper FLOPs are the paper's count (multiply-adds, with biases), in millions; – is not published")
    for source in table.sources:
        console.print(f"source: {source}", highlight=False)
    console.print(visible(_where(results)), highlight=False, markup=False)


def _where(results: Results | None) -> str:
    if results is None:
        return "here %: nothing measured; give --results with a comparison's folder"
    settings, at = results.settings, results.circumstances
    return (
        f"here %: {settings.network} on {settings.data}, {settings.train_images:,} training images, "
        f"{settings.recipe.get('epochs')} epochs, last epoch, {len(settings.seeds)} seed(s), {at.processor}, {at.date}"
    )


def _millions(count: float | None) -> str:
    return "–" if count is None else f"{count / 1e6:.2f} M"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _measured(row: Row | None) -> str:
    if row is None or row.accuracy is None:
        return "–"
    spread = "" if row.accuracy_std is None else f" ± {100 * row.accuracy_std:.2f}"
    return f"{100 * row.accuracy:.2f}{spread}"
