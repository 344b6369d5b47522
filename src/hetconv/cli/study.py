"""The commands of `hetconv study`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hetconv.cli.launched import followed
from hetconv.cli.made_options import with_options
from hetconv.cli.option_values import say
from hetconv.errors import HetconvError
from hetconv.lab.settings import StudyDefinition, load_definition
from hetconv.lab.settings.comparison import DataName
from hetconv.lab.settings.study import RecipeName, RunThreads, Workers
from hetconv.plain_text import visible

if TYPE_CHECKING:
    from hetconv.lab.results import StudyResults

study_app = typer.Typer(rich_markup_mode=None, help="Networks × variants × seeds, in one folder.")

Definition = Annotated[str, typer.Argument(metavar="STUDY", help="A TOML file, or a shipped study such as digits.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the study; runs/<name> by default.")]
Ray = Annotated[
    str | None, typer.Option("--ray", help="Run on a Ray cluster: its address, or auto for this machine's.")
]
Gpus = Annotated[float | None, typer.Option(min=0, help="With --ray: GPUs of each run; one where there are any.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write the curves for TensorBoard too.")]


@study_app.command("run")
@with_options
def run_command(
    study: Definition, out: Out = None, workers: Workers | None = None, threads: RunThreads | None = None,
    recipe: RecipeName | None = None, data: DataName | None = None, ray: Ray = None, gpus: Gpus = None,
    tensorboard: TensorBoard = False,
) -> None:  # fmt: skip
    """Run a study, or go on with it. When every run has ended, shows it and writes its pages."""
    if followed():
        return
    definition = _definition(study, recipe, data, workers, threads)
    _run(definition, _folder(out, definition), ray, gpus, tensorboard=tensorboard)


@study_app.command("resume")
@with_options
def resume_command(
    study: Definition, out: Out = None, workers: Workers | None = None, threads: RunThreads | None = None,
    recipe: RecipeName | None = None, data: DataName | None = None, ray: Ray = None, gpus: Gpus = None,
    again: Annotated[bool, typer.Option("--again", help="Give failed runs another attempt.")] = False,
) -> None:  # fmt: skip
    """Go on with a study that is there already."""
    from hetconv.lab.study import definition_in

    if followed():
        return
    definition = _definition(study, recipe, data, workers, threads)
    folder = _folder(out, definition)
    definition_in(folder, definition)
    _run(definition, folder, ray, gpus, again=again)


@study_app.command("worker")
@with_options
def worker_command(
    out: Annotated[Path, typer.Option(help="Folder of the study; where machines share it, they share the work.")],
    threads: RunThreads | None = None,
) -> None:
    """Do runs of a study that was made before. Start as many workers as you like, anywhere."""
    from hetconv.lab.study import join_study

    if followed():
        return
    with _progress(None) as progress:
        join_study(out, progress).work(threads)


@study_app.command("status")
@with_options
def status_command(study: Definition, out: Out = None) -> None:
    """Show which runs are done, who does which, and which wait."""
    from hetconv.lab.study import definition_in, statuses

    definition = load_definition(study)
    folder = _folder(out, definition)
    found = statuses(definition_in(folder, definition), folder, lambda text: typer.echo(visible(text), err=True))
    for key, status in found.items():
        by = "" if status.owner is None else f" by process {status.owner.pid} on {status.owner.host}"
        tries = "" if status.attempts < 2 else f", attempt {status.attempts}"
        reason = f": {status.reason}" if status.state in ("failed", "waiting") and status.reason else ""
        say(f"{key}: {status.state}{by} after {status.epochs_done} epochs{tries}{reason}")
    counts = Counter(status.state for status in found.values())
    say(f"{len(found)} runs: {', '.join(f'{count} {state}' for state, count in counts.items())}")


@study_app.command("report")
@with_options
def report_command(
    study: Definition, out: Out = None, tensorboard: TensorBoard = False,
    join: Annotated[list[Path] | None, typer.Option(help="A runs.csv of the same study from elsewhere.")] = None,
) -> None:  # fmt: skip
    """Show what a study has found so far. Also writes its report.html, report.md and runs.csv."""
    from hetconv.lab.report import joined
    from hetconv.lab.study import definition_in, open_study

    definition = load_definition(study)
    folder = _folder(out, definition)
    results = open_study(definition_in(folder, definition), folder, costs=False).results()
    for path in join or ():
        results = joined(results, path.expanduser())
    _show(results, folder, tensorboard)


def _definition(
    name: str, recipe: str | None, data: str | None, workers: int | None, threads: int | None
) -> StudyDefinition:
    return load_definition(name).changed(recipe=recipe, data=data, workers=workers, threads=threads)


def _folder(out: Path | None, definition: StudyDefinition) -> Path:
    return Path("runs") / definition.name if out is None else out


def _run(
    definition: StudyDefinition, folder: Path, ray: str | None, gpus: float | None, *, tensorboard: bool = False,
    again: bool = False,
) -> None:  # fmt: skip
    from hetconv.lab.study import LocalWorkers, RayWorkers, launched_team, open_study

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with _progress(definition) as progress:
        opened = open_study(definition, folder, progress)
        opened.reopen(failed=again)
        if ray is not None:
            RayWorkers(definition, folder, ray, gpus, say).run()
        elif definition.workers == 1 or launched_team().of > 1:
            opened.work()
        else:
            LocalWorkers(folder, definition.workers, definition.threads, say).run()
    results = opened.results()
    _show(results, folder, tensorboard)
    failed = [
        f"{network.settings.network} {run.variant} seed {run.seed}"
        for network in results.networks
        for run in network.runs
        if run.state == "failed"
    ]
    if failed:
        raise HetconvError(f"{len(failed)} runs failed: {', '.join(failed)}; reasons are above")


def _show(results: StudyResults, folder: Path, tensorboard: bool) -> None:
    """Write the pages, and then print: what is printed may find nobody who reads it."""
    from hetconv.cli.app import _command_line
    from hetconv.cli.option_values import console
    from hetconv.lab.report import print_results, print_verdicts, write_study_report

    page = write_study_report(results, folder, _command_line())
    for network in results.networks:
        print_results(network, console())
    print_verdicts(results, console())
    say(f"report: {page}")
    if tensorboard:
        from hetconv.lab.study import write_tensorboard

        say(f"TensorBoard: {write_tensorboard(results, folder)}")


def _progress(definition: StudyDefinition | None):  # type: ignore[no-untyped-def]
    from hetconv.cli.progress import TerminalProgress

    if definition is None:
        return TerminalProgress(Console(stderr=True, force_terminal=False), 1, 0)
    runs = len(definition.networks) * len(definition.variants) * len(definition.seeds)
    return TerminalProgress(Console(stderr=True), runs, definition.recipes[definition.recipe].epochs)
