"""The commands of `hetconv study`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hetconv.cli.launched import followed
from hetconv.errors import HetconvError

if TYPE_CHECKING:
    from hetconv.records import StudyResults
    from hetconv.study import Study, StudyDefinition

study_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Networks × variants × seeds, by many processes, in one folder."
)

Definition = Annotated[str, typer.Argument(metavar="STUDY", help="A TOML file, or a shipped study such as digits.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the study; runs/<name> by default.")]
Storage = Annotated[str | None, typer.Option(help="postgresql://user@host/database; a file in the folder without.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes on this machine; the study says how many, else.")]
Threads = Annotated[int | None, typer.Option(min=1, help="PyTorch's threads of each process.")]
Chosen = Annotated[str | None, typer.Option("--recipe", help="Another of the study's recipes, such as paper.")]
DataSet = Annotated[str | None, typer.Option("--data", help="Another place of the data, such as cifar10:<folder>.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write the curves for TensorBoard too.")]


@study_app.command("run")
def run_command(
    study: Definition, out: Out = None, storage: Storage = None, workers: Workers = None, threads: Threads = None,
    recipe: Chosen = None, data: DataSet = None, tensorboard: TensorBoard = False,
) -> None:  # fmt: skip
    """Run a study, or go on with it, until every run has ended; then show it and write its pages."""
    definition = _definition(study, recipe, data, workers, threads)
    _run(definition, _folder(out, definition), storage, tensorboard)


@study_app.command("resume")
def resume_command(
    study: Definition, out: Out = None, storage: Storage = None, workers: Workers = None, threads: Threads = None,
    recipe: Chosen = None, data: DataSet = None,
    again: Annotated[bool, typer.Option("--again", help="Give failed runs another attempt.")] = False,
) -> None:  # fmt: skip
    """Go on with a study that is there already."""
    from hetconv.study import join_study

    if followed():
        return
    definition = _definition(study, recipe, data, workers, threads)
    folder = _folder(out, definition)
    there = join_study(folder, storage=storage, name=definition.name)
    if again:
        there.queue.retry_failed()
    _run(definition, folder, storage)


@study_app.command("worker")
def worker_command(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints; where machines share it, they share the work.")],
    storage: Storage = None,
    study: Annotated[str | None, typer.Option(help="Which study of the database, if it holds more than one.")] = None,
    threads: Threads = None,
) -> None:
    """Do runs of a study that was made before, until every run has ended. Start as many as you like, anywhere."""
    from hetconv.study import join_study

    if followed():
        return
    with _progress(None) as progress:
        joined = join_study(out, progress, storage=storage, name=study)
        joined.work(threads)


@study_app.command("status")
def status_command(study: Definition, out: Out = None, storage: Storage = None) -> None:
    """Show which runs are done, who does which, and which wait."""
    from hetconv.study import join_study, load_definition

    definition = load_definition(study)
    joined = join_study(_folder(out, definition), storage=storage, name=definition.name)
    statuses = joined.statuses()
    for key, status in statuses.items():
        by = "" if status.owner is None else f" by process {status.owner.pid} on {status.owner.host}"
        tries = "" if status.attempts < 2 else f", attempt {status.attempts}"
        reason = f": {status.reason}" if status.state in ("failed", "waiting") and status.reason else ""
        typer.echo(f"{key}: {status.state}{by} after {status.epochs_done} epochs{tries}{reason}")
    counts = Counter(status.state for status in statuses.values())
    typer.echo(f"{len(statuses)} runs: {', '.join(f'{count} {state}' for state, count in counts.items())}")


@study_app.command("report")
def report_command(
    study: Definition, out: Out = None, storage: Storage = None, tensorboard: TensorBoard = False,
    join: Annotated[list[Path] | None, typer.Option(help="A runs.csv of the same study from elsewhere.")] = None,
) -> None:  # fmt: skip
    """Show what a study has found so far, and write its report.html, report.md and runs.csv."""
    from hetconv.report import joined
    from hetconv.study import join_study, load_definition

    definition = load_definition(study)
    folder = _folder(out, definition)
    results = join_study(folder, storage=storage, name=definition.name).results()
    for path in join or ():
        results = joined(results, path.expanduser())
    _show(results, folder, tensorboard)


def _definition(
    name: str, recipe: str | None, data: str | None, workers: int | None, threads: int | None
) -> StudyDefinition:
    from hetconv.study import load_definition

    return load_definition(name).changed(recipe=recipe, data=data, workers=workers, threads=threads)


def _folder(out: Path | None, definition: StudyDefinition) -> Path:
    return Path("runs") / definition.name if out is None else out


def _run(definition: StudyDefinition, folder: Path, storage: str | None, tensorboard: bool = False) -> None:
    from hetconv.study import Crew, launched_team, open_study, supervise

    if followed():
        return
    console = Console(stderr=True)
    with _progress(definition) as progress:
        opened = open_study(definition, folder, progress, storage=storage)
        if definition.workers == 1 or launched_team().of > 1:
            opened.work()
        else:
            crew = Crew(folder, definition.workers, storage, definition.name, definition.threads)
            supervise(crew, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    results = opened.results()
    _show(results, folder, tensorboard)
    _complain(opened)


def _show(results: StudyResults, folder: Path, tensorboard: bool) -> None:
    from hetconv.cli.app import _command_line
    from hetconv.cli.arguments import console
    from hetconv.report import print_results, print_verdicts, write_study_report

    for network in results.networks:
        print_results(network, console())
    print_verdicts(results, console())
    typer.echo(f"report: {write_study_report(results, folder, _command_line())}")
    if tensorboard:
        from hetconv.study import write_tensorboard

        typer.echo(f"TensorBoard: {write_tensorboard(results, folder)}")


def _complain(study: Study) -> None:
    statuses = study.statuses().values()
    failed = [str(status.key) for status in statuses if status.state == "failed"]
    if failed:
        raise HetconvError(f"{len(failed)} of {len(statuses)} runs failed: {', '.join(failed)}; reasons are above")


def _progress(definition: StudyDefinition | None):  # type: ignore[no-untyped-def]
    from hetconv.cli.progress import TerminalProgress

    if definition is None:
        return TerminalProgress(Console(stderr=True, force_terminal=False), 1, 0)
    runs = len(definition.networks) * len(definition.variants) * len(definition.seeds)
    return TerminalProgress(Console(stderr=True), runs, definition.recipes[definition.recipe].recipe.epochs)
