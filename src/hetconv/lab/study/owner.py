"""Who does a run: a process on a machine, and whether it still lives."""

from __future__ import annotations

import os
import platform
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TASK: ContextVar[str] = ContextVar("TASK", default="")
"""The task that this process does for a cluster, which starts it again elsewhere under the same name when it dies."""


@dataclass(frozen=True)
class Owner:
    """One process. `machine` names the machine and its start, `started` tells a later process of the same number apart;
    both are empty where the system does not say."""

    host: str
    pid: int
    machine: str = ""
    started: str = ""
    task: str = ""


def this_process() -> Owner:
    return Owner(platform.node(), os.getpid(), _machine(), _started(os.getpid()) or "", TASK.get())


def is_known_dead(owner: Owner) -> bool:
    """Whether this process can see that the owner is gone: it ran on this very machine, and does not any more; or a
    cluster has started its task again, which is what this process does.

    Of another machine's process nothing else can be seen but that it renews its lease no more.
    """
    here = this_process()
    if owner.task and owner.task == here.task and owner != here:
        return True
    if not owner.machine or not owner.started or owner.machine != here.machine:
        return False
    return _started(owner.pid) != owner.started


def _machine() -> str:
    """This boot of this machine, and the space of process numbers that a container may have of its own."""
    try:
        return f"{BOOT_ID.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if there is none, or if it is dead but not yet buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else rest[18]
