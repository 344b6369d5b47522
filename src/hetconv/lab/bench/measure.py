"""Measuring variants of one network in every runtime, in turns."""

from __future__ import annotations

import importlib.metadata
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hetconv.clock import Timer, times_in_turns
from hetconv.cost import complexity
from hetconv.cost.circumstances import circumstances
from hetconv.errors import HetconvError, UsageError
from hetconv.export.verify import compare, reference
from hetconv.foreign import describe_error
from hetconv.graph.equality import Reference
from hetconv.lab.bench.measured_network import Network
from hetconv.lab.bench.process import Worker, prepared
from hetconv.lab.bench.registry import Runner, find_runner
from hetconv.lab.models import input_size_of
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.lab.settings import Bench
from hetconv.records import Circumstances, Latency

LARGEST_INT8_ERROR = 0.25
SAMPLE_MS = 30.0
SETTLE_SECONDS = 0.15
"""Several threads wait for work by spinning when theirs is done, some for a tenth of a second; then they sleep."""
SAY_NOTHING: Callable[[str], None] = lambda _: None  # noqa: E731  (a default argument)


def networks_of(settings: Bench) -> dict[str, Network]:
    """The networks that are measured, by their titles."""
    size = input_size_of(settings.network) if settings.input_size is None else settings.input_size
    given = size, settings.num_classes, settings.width, settings.batch_size
    made = (
        Network(settings.network, variant, *given, one) for one in settings.precisions for variant in settings.variants
    )
    return {network.title: network for network in made}


def bench(settings: Bench, notice: Callable[[str], None] = SAY_NOTHING) -> BenchResults:
    """Run every variant in every runtime, each in a fresh process, and time them in turns.

    A runtime's first output is compared with the network's own in float64; what differs, fails, is missing or too old
    is an entry with the reason in the place of times.

    Args:
        notice: is told what is being done.

    Raises:
        UsageError: the network cannot be made, or does not take the input.
    """
    return bench_in_turns((settings,), notice)[0]


def bench_in_turns(several: Sequence[Bench], notice: Callable[[str], None] = SAY_NOTHING) -> tuple[BenchResults, ...]:
    """As `bench`, for several settings (numbers of threads, say) whose networks are all timed in the same turns.

    Raises:
        UsageError: they differ in rounds, or as `bench`.
    """
    if len({settings.rounds for settings in several}) != 1:
        raise UsageError("settings that are timed in the same turns must have the same rounds")
    with tempfile.TemporaryDirectory(prefix="hetconv-bench-") as scratch, ExitStack() as stack:
        made: dict[Network, _Made] = {}
        started = []
        for at, settings in enumerate(several):
            for title, network in networks_of(settings).items():
                folder = Path(scratch) / f"{at}-{title}"
                made[network] = made[network].again(folder) if network in made else _Made.of(network, folder)
                for name in settings.runtimes:
                    runner = find_runner(name)
                    notice(f"{runner.title}, {title}, {settings.threads} thread(s): preparing and starting")
                    entry, worker = _started(runner, network, folder, made[network].expected, settings.threads)
                    started.append((at, entry, worker))
                    if worker is not None:
                        stack.callback(worker.close)
        running = {index: worker for index, (_, _, worker) in enumerate(started) if worker is not None}
        notice(f"timing {len(running)} networks in turns, {several[0].rounds} rounds")
        settle = SETTLE_SECONDS if any(settings.threads > 1 for settings in several) else 0.0
        times, failed = _timed(running, several[0].rounds, settle)
    entries = [
        (at, replace(entry, latency=times.get(index), reason=failed.get(index, entry.reason)))
        for index, (at, entry, _) in enumerate(started)
    ]
    macs = {network: made[network].macs for network in made}
    return tuple(
        _results(settings, macs, [entry for of, entry in entries if of == at]) for at, settings in enumerate(several)
    )


@dataclass(frozen=True)
class _Made:
    """A network in a folder, for runtimes to prepare it there."""

    folder: Path
    macs: int
    expected: Reference

    @classmethod
    def of(cls, network: Network, folder: Path) -> _Made:
        model = network.create()
        network.save(model, folder)
        np.save(folder / "input.npy", network.example().numpy())
        return cls(folder, complexity(model, network.input_size).macs, reference(model, network.example()))

    def again(self, folder: Path) -> _Made:
        """The same network in another folder, with the forms that were exported, which take long."""
        names = ("network.json", "weights.safetensors", "input.npy", "form-*.onnx", "layer*")
        folder.mkdir(parents=True)
        for file in (file for name in names for file in self.folder.glob(name)):
            shutil.copy(file, folder)
        return replace(self, folder=folder)


def _results(settings: Bench, macs: dict[Network, int], entries: list[BenchEntry]) -> BenchResults:
    titles = {name: find_runner(name).title for name in settings.runtimes}
    networks = networks_of(settings)
    ordered = sorted(entries, key=lambda entry: settings.runtimes.index(entry.runtime))
    return BenchResults(
        settings.network,
        next(iter(networks.values())).input_size,
        settings.num_classes,
        settings.width,
        tuple(networks),
        {title: macs[network] for title, network in networks.items()},
        _circumstances(settings),
        tuple(replace(entry, runtime=titles[entry.runtime]) for entry in ordered),
    )


def _started(
    runner: Runner, network: Network, folder: Path, expected: Reference, threads: int
) -> tuple[BenchEntry, Worker | None]:
    """A runtime that runs the network and has been compared; without one, an entry that says why."""
    reason = runner.why_not(network.precision)
    if reason is not None:
        return BenchEntry(runner.name, network.title, reason), None
    worker = None
    try:
        remark = prepared(runner, folder, threads)
        worker = Worker(runner, folder, threads)
        output = worker.output
        error = _error(runner.title, output, network, expected)
    except Exception as problem:  # whatever somebody else's runtime does
        if worker is not None:
            worker.close()
        return BenchEntry(runner.name, network.title, describe_error(problem)), None
    entry = BenchEntry(runner.name, network.title, None, remark, None, worker.cold_start_ms, worker.peak_bytes, error)
    return entry, worker


def _error(title: str, output: np.ndarray, network: Network, expected: Reference) -> float:
    """How far the first output is off, which may be a quarter of its size in 8 bits.

    Raises:
        HetconvError: it is further off.
    """
    if network.precision == "float32":
        return compare(title, lambda _: output, [network.example()], [expected])[0].error
    right = expected.exact[0].double()
    if tuple(output.shape) != tuple(right.shape):
        raise HetconvError(f"{title} returns {output.shape}, the model {tuple(right.shape)}")
    error = float((torch.tensor(output).double() - right).norm() / right.norm())
    if not error <= LARGEST_INT8_ERROR:
        raise HetconvError(f"{title} in 8 bits differs by {error:.0%} of the output")
    return error


def _timed(running: dict[int, Worker], rounds: int, settle_seconds: float) -> tuple[dict[int, Latency], dict[int, str]]:
    """The times of those that ran to the end, and why the others did not."""
    failed: dict[int, str] = {}

    def timer(key: int) -> Timer:
        """A runtime that dies while it is timed is its own line; the others' times stand."""

        def timed(calls: int) -> float:
            if key in failed:
                return math.nan
            time.sleep(settle_seconds)  # the last one's threads have the cores until now
            try:
                running[key].milliseconds(max(1, calls // 3))  # caches and clock are the others' until now
                return running[key].milliseconds(calls)
            except HetconvError as error:
                failed[key] = f"while it was timed: {error}"
                return math.nan

        return timed

    times = times_in_turns({key: timer(key) for key in running}, rounds, sample_ms=SAMPLE_MS)
    return {key: Latency.of(values, "the runtime's own") for key, values in times.items() if key not in failed}, failed


def _circumstances(settings: Bench) -> Circumstances:
    found = circumstances(
        torch.device("cpu"),
        " and ".join(settings.precisions),
        "each runtime's own format",
        settings.batch_size,
        settings.threads,
    )
    packages = {package for name in settings.runtimes for package in find_runner(name).packages}
    versions = {}
    for package in sorted(packages):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return replace(found, versions=found.versions | versions)
