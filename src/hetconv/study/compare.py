"""A comparison: a study of one network, written on the command line."""

from __future__ import annotations

from pathlib import Path

from hetconv.records import Results
from hetconv.study.comparison import Comparison
from hetconv.study.definition import definition_of
from hetconv.study.engine import open_study
from hetconv.study.progress import CompareProgress


def compare(
    comparison: Comparison, folder: Path, progress: CompareProgress | None = None, *, threads: int | None = None
) -> Results:
    """Run a comparison in a folder, going on from whatever is there already.

    Variants are costed first, then trained; results.json is brought up to date after each run. Finished runs are not
    trained again; an unfinished one goes on from its last stored epoch. A run whose loss is no longer
    finite is kept as failed, with the reason, and the others go on.

    Raises:
        UsageError: a name is wrong, or the folder holds another study.
        HetconvError: something could not be written; what was written before stands.
    """
    study = open_study(definition_of(comparison, threads=threads), folder, progress)
    study.work()
    return study.results().networks[0]
