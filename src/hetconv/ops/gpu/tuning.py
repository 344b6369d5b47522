"""Which configuration a call runs: timed once for each shape on this machine, and remembered.

Nothing is timed while a CUDA graph is recorded, or where PyTorch is told to be deterministic: configurations sum in
different orders, so that a choice by time could change the last bits from one machine to the next. The expected best
one that the device can run is taken then, whatever was timed before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from hetconv.errors import HetconvError
from hetconv.ops.gpu.choices import Trial, choices, fastest, keep, read
from hetconv.ops.gpu.support import multiplication

C = TypeVar("C")
WARMUP, SAMPLES, CALLS = 2, 5, 4
LASTING = "OutOfResources"
"""How refusals begin that a device always has for a configuration: Triton's, for shared memory."""
AHEAD_CYCLES = 2_000_000
"""The GPU waits about a millisecond before a sample, so that launches are there before it needs them."""


def tuned(call: tuple[object, ...], x: Tensor, candidates: Sequence[C], run: Callable[[C], object]) -> C:
    """The fastest of the candidates for this call.

    Args:
        call: what it depends on beside x's sizes and type
        candidates: the expected best one first
        run: computes the call with a configuration

    Raises:
        HetconvError: none of the candidates runs on this device.
    """
    if x.device.type != "cuda" or len(candidates) == 1 or x.numel() == 0:
        return candidates[0]
    deterministic = torch.are_deterministic_algorithms_enabled()
    settings = (multiplication(x.dtype), deterministic)
    key = (call, _sizes(x), x.dtype, settings, x.device, tuple(candidates))
    known = choices().chosen.get(key)
    if known is not None:
        return known  # type: ignore[return-value]
    if torch.cuda.is_current_stream_capturing():
        return candidates[0]
    kept = not deterministic
    title = f"{call}, {_sizes(x)}, {x.dtype}, {settings[0]}, among {'; '.join(map(str, candidates))}"
    name = torch.cuda.get_device_name(x.device)
    trials = read(title, name, candidates) if kept else None
    if trials is None:
        trials = _trials(candidates, run, deterministic)
        if kept and fastest(trials) is not None and all(map(_lasts, trials)):
            keep(title, name, trials)
    best = fastest(trials)
    if best is None:
        reasons = "; ".join(f"{trial.configuration}: {trial.refused}" for trial in trials)
        raise HetconvError(f"none of the GPU kernel's configurations runs on {x.device}: {reasons}")
    choices().trials[key], choices().chosen[key] = trials, best
    return best  # type: ignore[return-value]


def _trials(candidates: Sequence[C], run: Callable[[C], object], only_first: bool) -> tuple[Trial, ...]:
    """Each candidate in its turn, or those up to the first that runs."""
    trials: list[Trial] = []
    for one in candidates:
        trials.append(_try(one, run))
        if only_first and trials[-1].median_ms is not None:
            break
    return tuple(trials)


def _lasts(trial: Trial) -> bool:
    """Whether it would be the same in the next process: a full disk or want of memory may be otherwise there."""
    return trial.refused is None or trial.refused.startswith(LASTING)


def _sizes(x: Tensor) -> tuple[int, ...]:
    """Sizes as far as the choice depends on them: batches alike up to a factor of two."""
    return (x.shape[0].bit_length(), *x.shape[1:], int(x.stride(1) == 1))


def _try(configuration: C, run: Callable[[C], object]) -> Trial:
    """Compile and time one configuration; the device is asked for memory and time as any call would."""
    try:
        for _ in range(WARMUP):
            run(configuration)
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's own errors have no common base
        return Trial(configuration, None, f"{type(error).__name__}: {error}")
    times = []
    for _ in range(SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(AHEAD_CYCLES)
        begin.record()
        for _ in range(CALLS):
            run(configuration)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / CALLS)
    return Trial(configuration, sorted(times)[len(times) // 2])
