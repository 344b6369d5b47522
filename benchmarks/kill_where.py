"""Where a study that is disturbed runs: which of its processes may be killed, and what its user does afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

FOR_RAY = {"RAY_gcs_rpc_server_reconnect_timeout_s": "15", "RAY_worker_niceness": "0"}
"""How long its processes look for a head that is gone, a minute without; and that workers are as nice as others."""
HEAD = {"head": "raylet", "gcs": "gcs_server"}
"""Roles of the head's processes, and Ray's names of them."""


class Where(Protocol):
    """Processes are told apart by roles: `starter` is the command that the user started."""

    def options(self) -> list[str]:
        """Of `hetconv study run`."""

    def alive(self, starter: int) -> dict[int, str]:
        """The processes that may be killed now, and the role of each."""

    def killed(self, process: int, role: str) -> None:
        """What is done at once."""

    def before_start(self) -> bool:
        """Make all ready for the command to be started again; whether its end was to be expected."""


class Here:
    """Worker processes of this machine. Orphans of a starter that was killed are left alone and found by nobody."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.seen: set[int] = set()

    def options(self) -> list[str]:
        return ["--workers", str(self.workers)]

    def alive(self, starter: int) -> dict[int, str]:
        self.seen |= {starter, *children(starter)} if is_alive(starter) else set()
        self.seen = {pid for pid in self.seen if is_alive(pid)}
        return {pid: "starter" if pid == starter else "worker" for pid in sorted(self.seen)}

    def killed(self, process: int, role: str) -> None:
        """Nothing: the starter starts the worker again."""

    def before_start(self) -> bool:
        return False


class OnRay:
    """A Ray cluster on this machine: a head that does no runs, and nodes that do one each.

    A node that dies is replaced by a new one, as whatever keeps a cluster going does. When a process of the head dies,
    the cluster is gone: a new one is made, and the command is started again with its address.
    """

    def __init__(self, nodes: int) -> None:
        os.environ.update(FOR_RAY)
        self.nodes = nodes
        self.killed_since_start: set[str] = set()
        self.cluster = self._started()

    def options(self) -> list[str]:
        return ["--ray", self.cluster.address]

    def alive(self, starter: int) -> dict[int, str]:
        if self._has_no_head():
            return {}
        raylets = [ray_process(node, "raylet") for node in self.cluster.worker_nodes]
        found = {
            pid: "worker" for raylet in raylets for pid in children(raylet) if title(pid).startswith("ray::do_one")
        }
        found |= dict.fromkeys(raylets, "node")
        found |= {ray_process(self.cluster.head_node, kind): role for role, kind in HEAD.items()}
        return {pid: role for pid, role in {starter: "starter", **found}.items() if is_alive(pid)}

    def killed(self, process: int, role: str) -> None:
        self.killed_since_start.add(role)
        if role == "node":
            dead = next(node for node in self.cluster.worker_nodes if ray_process(node, "raylet") == process)
            self.cluster.remove_node(dead, allow_graceful=False)
            self.cluster.add_node(num_cpus=1)

    def before_start(self) -> bool:
        expected = "node" in self.killed_since_start or self._has_no_head()
        if self._has_no_head():
            self.cluster.shutdown()
            self.cluster = self._started()
        self.killed_since_start = set()
        return expected

    def _has_no_head(self) -> bool:
        return not self.killed_since_start.isdisjoint(HEAD)

    def _started(self) -> Any:
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(self.nodes):
            made.add_node(num_cpus=1)
        return made


def ray_process(node: Any, kind: str) -> int:
    return int(node.all_processes[kind][0].process.pid)


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        state, ppid = state_and_parent(stat)
        if ppid == parent and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    return state_and_parent(Path(f"/proc/{pid}/stat"))[0] not in ("Z", "X", "")


def state_and_parent(stat: Path) -> tuple[str, int]:
    """Empty and -1 where the process is gone."""
    try:
        state, parent = stat.read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "", -1
    return state, int(parent)


def title(pid: int) -> str:
    """What the process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""
