"""A study's runs as tasks of a Ray cluster: Ray decides where each runs, and runs it again when its process or its
machine dies. It goes on from its last checkpoint, because all machines see the study's folder."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hetconv.errors import HetconvError, UsageError
from hetconv.lab.settings import RunKey, StudyDefinition
from hetconv.lab.study.owner import TASK
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.study_folder import join_study


@dataclass(frozen=True)
class RayWorkers:
    """The tasks of one study.

    Attributes:
        address: of a cluster that is there already, such as 10.0.0.1:6379; "auto" finds this machine's.
        gpus: of each run, which may be a fraction; None: one where the cluster has any. A run has as many CPUs as the
            study says threads.
        say: told when a run has ended.
    """

    definition: StudyDefinition
    folder: Path
    address: str
    gpus: float | None
    say: Callable[[str], None]

    def run(self) -> None:
        """Run the tasks until every run has ended.

        Raises:
            UsageError: Ray is not installed.
            HetconvError: there is no cluster at the address, or a run could not be done; the others were done first.
        """
        try:
            import ray
        except ImportError as error:
            raise UsageError("--ray needs Ray: pip install 'hetconv[ray]'") from error
        self._connect(ray)
        try:
            failed = self._done(ray)
        finally:
            ray.shutdown()
        if failed:
            raise HetconvError("; ".join(failed))

    def _connect(self, ray: Any) -> None:
        why = _why_unreachable(self.address)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if why is None:
                ray.init(address=self.address, logging_level="error")
        except (ConnectionError, ValueError) as error:
            why = str(error)
        if why is not None:
            raise HetconvError(f"cannot reach a Ray cluster at {self.address}: {why}; `ray start --head` starts one")
        signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself

    def _done(self, ray: Any) -> list[str]:
        """Start the tasks and wait for them; returns what went wrong."""
        cpus = self.definition.threads or 1
        gpus = min(1, ray.cluster_resources().get("GPU", 0)) if self.gpus is None else self.gpus
        task = ray.remote(do_one).options(num_cpus=cpus, num_gpus=gpus, max_retries=-1)
        where = (str(self.folder.absolute()), os.getcwd(), cpus)
        tasks: dict[RunKey, Any] = {}
        for key in sorted(self.definition.run_keys(), key=lambda key: key.base is not None):
            tasks[key] = task.remote(*where, key, tasks.get(key.base) if key.base else None)
        left, failed = {reference: key for key, reference in tasks.items()}, []
        while left:
            (ended,), _ = ray.wait(list(left), num_returns=1)
            key = left.pop(ended)
            why = ray.get(ended)
            if why is not None:
                failed.append(f"{key}: {why}")
            self.say(f"{key}: {'ended' if why is None else why}; {len(left)} runs are left")
        return failed


def _why_unreachable(address: str) -> str | None:
    """Why nothing answers at host:port, which Ray would try for minutes; None for other addresses, such as auto."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def do_one(folder: str, working_folder: str, threads: int, key: RunKey, _base: object) -> str | None:
    """Do one run of the study in a folder, as a task of Ray; returns why it could not be done.

    Args:
        _base: what the run that this one needs has returned: Ray waits for it.
    """
    import ray

    os.chdir(working_folder)  # from which the user's own network is imported
    TASK.set(ray.get_runtime_context().get_task_id())
    try:
        join_study(Path(folder), _Lines()).work(threads, only=key)
    except (HetconvError, UsageError) as error:
        return str(error)
    return None


class _Lines(CompareProgress):
    """Passes notices on; Ray brings them to whoever started the study."""

    def notice(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
