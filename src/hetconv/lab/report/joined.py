"""A study's results together with runs that were done elsewhere and came as CSV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hetconv.errors import UsageError
from hetconv.lab.report.runs_csv import read_runs_csv
from hetconv.lab.results import Results, Run, StudyResults


def joined(study: StudyResults, path: Path) -> StudyResults:
    """The same study with the runs of a CSV file that it does not have yet; ended ones only.

    Raises:
        UsageError: the file is no such table, or has a network or a variant that is not in this study, a finished run
            of another number of epochs, or a run that this study has with other values.
    """
    found = read_runs_csv(path)
    known = [results.settings.network for results in study.networks]
    for network in found:
        if network not in known:
            raise UsageError(f"{path}: network={network[:80]!r} is not in this study, which has {', '.join(known)}")
    networks = tuple(_with(results, found.get(results.settings.network, ()), path) for results in study.networks)
    count = sum(len(new.runs) - len(old.runs) for new, old in zip(networks, study.networks, strict=True))
    told = f"{count} runs joined from {path.name}, whose times may be another machine's"
    source = f"{study.recipe_source.rstrip('.')}; {told}" if study.recipe_source else told
    return replace(study, networks=networks, recipe_source=source)


def _with(results: Results, runs: tuple[Run, ...], path: Path) -> Results:
    there = {(run.variant, run.seed): run for run in results.runs if run.state != "running"}
    new = []
    known = results.settings.variants
    for run in (run for run in runs if run.state != "running"):
        if run.variant not in known:
            raise UsageError(f"{path}: variant={run.variant[:80]!r} is not in this study, which has {', '.join(known)}")
        old = there.get((run.variant, run.seed))
        if old is None:
            _check_epochs(results, run, path)
            new.append(run)
        elif old != run:
            raise UsageError(
                f"{path}: {run.variant} seed {run.seed} is in this study with other values; delete its lines"
            )
    names = {(run.variant, run.seed) for run in new}
    kept = [run for run in results.runs if (run.variant, run.seed) not in names]
    return replace(results, runs=(*kept, *new))


def _check_epochs(results: Results, run: Run, path: Path) -> None:
    """A file that was cut between two lines looks whole, but for a run that has not all its epochs."""
    expected = results.settings.recipe.get("epochs")
    if run.state == "done" and isinstance(expected, int) and len(run.epochs) != expected:
        raise UsageError(
            f"{path}: {run.variant} seed {run.seed} has {len(run.epochs)} epochs, this study's have {expected}; "
            "is the file cut short, or of another study?"
        )
