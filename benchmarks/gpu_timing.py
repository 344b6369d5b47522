"""Times of calls on a GPU, taken in turns; calls as CUDA graphs."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import torch

from hetconv.clock import Timer, medians, times_in_turns, wall

Call = Callable[[], object]


def timed(calls: dict[str, Call], device: torch.device, rounds: int, sample_ms: float) -> dict[str, float]:
    """Milliseconds of each call: the median of rounds in which every call has its turn, after calls to warm up."""
    timer = _events if device.type == "cuda" else wall
    return medians(times_in_turns({name: timer(call) for name, call in calls.items()}, rounds, sample_ms=sample_ms))


def _events(call: Call) -> Timer:
    return lambda repeats: _elapsed(call, repeats)


def _elapsed(call: Call, repeats: int) -> float:
    """Milliseconds of one of `repeats` calls."""
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / repeats


def graphed(call: Call, device: torch.device) -> Call:
    """The call as a CUDA graph, so that launches from Python are not in a layer's time; the call itself on a CPU."""
    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def as_graphs(calls: dict[str, Call], device: torch.device, failed: dict[str, str]) -> dict[str, Call]:
    """Each as a CUDA graph; those that cannot be recorded are left out and named in `failed`."""
    recorded = {}
    for name, call in calls.items():
        try:
            recorded[name] = graphed(call, device)
        except Exception as error:
            traceback.print_exc()
            failed[name] = told(error)
    return recorded


def told(error: Exception) -> str:
    """In one line, as it stands in a row."""
    return f"{type(error).__name__}: {error}"
