"""The runtimes that are measured. A runner is one module in `runners`, which a process can run by its path alone.

It has:

    TITLE                          how the table names it
    PACKAGES                       {package: oldest version that it works with}
    PRECISIONS                     those that it runs; float32 alone without
    prepare(folder, threads)       write into the folder what the runtime loads; returns a remark for the table.
                                   The folder holds what `Network.save` wrote. It runs in a process of its own, too,
                                   and may import hetconv.
    load(folder, threads)          the network as a function from a batch to its output, NumPy arrays both. It runs in
                                   a process of its own, whose start and memory are measured: it imports no more than
                                   the runtime needs, and nothing of hetconv unless it is hetconv that runs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hetconv.errors import UsageError
from hetconv.lab.settings.bench import RUNNERS
from hetconv.runtimes import why_not


@dataclass(frozen=True)
class Runner:
    """One runtime."""

    name: str
    module: ModuleType

    @property
    def title(self) -> str:
        return str(self.module.TITLE)

    @property
    def path(self) -> Path:
        assert self.module.__file__ is not None
        return Path(self.module.__file__)

    @property
    def packages(self) -> dict[str, str]:
        return dict(self.module.PACKAGES)

    def why_not(self, precision: str) -> str | None:
        """Why it cannot be measured here; None if it can."""
        if precision not in getattr(self.module, "PRECISIONS", ("float32",)):
            return f"it is not measured in {precision}"
        reasons = (why_not(package, oldest) for package, oldest in self.packages.items())
        return next((reason for reason in reasons if reason is not None), None)


def find_runner(name: str) -> Runner:
    """A runner by its name.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in RUNNERS:
        raise UsageError(f"runtime {name!r} is not known; there is {', '.join(RUNNERS)}")
    return Runner(name, importlib.import_module(f"hetconv.lab.bench.runners.{name}"))
