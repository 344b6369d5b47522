"""The processes that a launcher (`torchrun`, `accelerate launch`) started: they train each run together.

The first one leads: it alone knows the study's folder. The others hear from it what to train, and train it
with it; they write nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from hetconv.errors import HetconvError, NotFiniteError, UsageError
from hetconv.lab.results import Epoch
from hetconv.lab.settings import RunKey, StudyDefinition
from hetconv.lab.study.network_study import NetworkOnData, data_of
from hetconv.lab.study.one_run import TakenOverError
from hetconv.lab.train import Progress, train

WAIT = "wait"
END = "end"


@dataclass(frozen=True)
class Team:
    """This process's place among those of a launcher; alone by default."""

    index: int = 0
    of: int = 1

    @property
    def leads(self) -> bool:
        return self.index == 0

    def share(self, message: Any = None) -> Any:
        """What the leader says; every process calls this at the same point, the others without a message."""
        if self.of == 1:
            return message
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([message], from_process=0)[0]


def world_size() -> int:
    """How many processes the launcher started; 1 without one.

    Raises:
        UsageError: the environment variable WORLD_SIZE is no number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"WORLD_SIZE={text!r} must be a whole number of at least 1, as torchrun sets it; or unset it")
    return int(text)


def launched_team() -> Team:
    """The team that this process belongs to, once all of it is there."""
    if world_size() == 1:
        return Team()
    from hetconv.lab.train.processes import joined_processes

    state = joined_processes()
    return Team(state.process_index, state.num_processes)


@contextmanager
def together() -> Iterator[None]:
    """Around what a team's processes do together; also as a decorator.

    Raises:
        HetconvError: another of them is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, HetconvError) or not _is_of_contact(error):
            raise
        raise HetconvError(
            f"another process that trains with this one is gone ({str(error).splitlines()[0]}); start the "
            "launcher again, which goes on from the last stored epoch; torchrun --max-restarts 3 does that by itself"
        ) from error


def _is_of_contact(error: RuntimeError) -> bool:
    """Whether PyTorch says that processes lost one another; gloo has no kind of error of its own."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


@together()
def follow(team: Team) -> None:
    """Train what the leader trains, until it says that every run has ended."""
    definition, threads = team.share()
    assert isinstance(definition, StudyDefinition)
    if threads is not None:
        torch.set_num_threads(threads)
    comparisons = definition.comparisons()
    data = data_of(next(iter(comparisons.values())))
    while (order := team.share()) != END:
        if not isinstance(order, RunKey):
            continue
        network = NetworkOnData(comparisons[order.network], data)
        torch.manual_seed(order.seed)
        model = network.starting_network(order.variant)
        with suppress(NotFiniteError, TakenOverError):  # the leader has seen the same, and records it
            recipe = network.comparison.recipe
            train(model, data, recipe, order.seed, progress=_Following(team), objective=network.objective)


class _Following(Progress):
    """Hears after each epoch whether the run is still the team's."""

    def __init__(self, team: Team) -> None:
        self.team = team

    def epoch(self, found: Epoch) -> None:
        if not self.team.share():
            raise TakenOverError
