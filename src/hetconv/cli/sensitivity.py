"""The command that shows how a network bears changes of one layer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import console, say, set_threads
from hetconv.lab.settings import Probing
from hetconv.lab.settings.comparison import Threads
from hetconv.plain_text import visible


@with_options
def sensitivity_command(
    probing: Probing,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the record and pictures.")] = Path(
        "runs/sensitivity"
    ),
    threads: Threads | None = None,
) -> None:
    """Show which layers bear a change, without retraining. Accuracy against P and against removed filters, by layer."""
    from hetconv.cli.progress import TerminalProgress
    from hetconv.files import check_output_folder
    from hetconv.lab.report.figures import save_picture
    from hetconv.lab.report.sensitivity import sensitivity_charts, sensitivity_table
    from hetconv.lab.results import Probe
    from hetconv.lab.study.probing import probe

    check_output_folder(out, "sensitivity.json")
    set_threads(threads)
    told = Console(stderr=True)

    def tell(found: Probe) -> None:
        told.print(
            visible(f"{found.layer}, {found.kind} {found.value:g}: {found.accuracy:.2%}"), highlight=False, markup=False
        )

    with TerminalProgress(told, 1, probing.recipe.epochs) as progress:
        results = probe(probing, out, progress, tell)
    console().print(sensitivity_table(results))
    for chart in sensitivity_charts(results):
        save_picture(chart, out / f"{chart.name}.png")
    say(f"record and pictures: {out}")
