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
WRONG_VALUES = "its values are off"
LASTING = ("OutOfResources", WRONG_VALUES)
"""How refusals begin that a device always has for a configuration; the first is Triton's, for shared memory."""
AHEAD_CYCLES = 2_000_000
"""The GPU waits about a millisecond before a sample, so that launches are there before it needs them."""


def tuned(
    call: tuple[object, ...],
    x: Tensor,
    candidates: Sequence[C],
    run: Callable[[C], object],
    unproven: Callable[[C], bool] = lambda one: False,
) -> C:
    """The fastest of the candidates for this call.

    Args:
        call: what it depends on beside x's sizes and type
        candidates: the expected best one first
        run: computes the call with a configuration
        unproven: whether what a candidate computes is compared with the first one before it may be chosen

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
    kept = choices().on_disk and not deterministic
    title = f"{call}, {_sizes(x)}, {x.dtype}, {settings[0]}, among {'; '.join(map(str, candidates))}"
    name = torch.cuda.get_device_name(x.device)
    trials = read(title, name, candidates) if kept else None
    if trials is None:
        trials = _trials(candidates, run, unproven, deterministic)
        if kept and fastest(trials) is not None and all(map(_lasts, trials)):
            keep(title, name, trials)
    best = fastest(trials)
    if best is None:
        reasons = "; ".join(f"{trial.configuration}: {trial.refused}" for trial in trials)
        raise HetconvError(f"none of the GPU kernel's configurations runs on {x.device}: {reasons}")
    choices().trials[key], choices().chosen[key] = trials, best
    return best  # type: ignore[return-value]


def _trials(
    candidates: Sequence[C], run: Callable[[C], object], unproven: Callable[[C], bool], only_first: bool
) -> tuple[Trial, ...]:
    """Each candidate in its turn, or those up to the first that runs."""
    trials: list[Trial] = []
    for one in candidates:
        reason = why_wrong(one, candidates[0], run) if unproven(one) else None
        trials.append(_try(one, run) if reason is None else Trial(one, None, reason))
        if only_first and trials[-1].median_ms is not None:
            break
    return tuple(trials)


def _lasts(trial: Trial) -> bool:
    """Whether it would be the same in the next process: a full disk or want of memory may be otherwise there."""
    return trial.refused is None or trial.refused.startswith(LASTING)


def why_wrong(one: C, proven: C, run: Callable[[C], object]) -> str | None:
    """What is wrong with the tensor that `one` computes; None if it is that of `proven`, but for roundings.

    Both are rounded to their type once, and their sums differ in the order of additions only: a few roundings of the
    largest value.
    """
    try:
        right, got = run(proven), run(one)
        if not isinstance(right, Tensor) or not isinstance(got, Tensor):
            raise TypeError(f"{type(got).__name__} cannot be compared")
        largest = right.abs().max()
        error = (got - right).abs().max()
        allowed = 4 * torch.finfo(right.dtype).eps * largest
        if bool(largest > 0) and bool(error <= allowed):
            return None
        return f"{WRONG_VALUES} by {float(error):.3g}; allowed are {float(allowed):.3g} (zeros prove nothing)"
    except Exception as error:  # out of memory too: two outputs and their difference are there at once
        return f"{type(error).__name__}: {error}"


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
