"""Measured time of a forward pass, each model interleaved with what it is compared with."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetconv.clock import WARMUP_CALLS, times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.cost.complexity import evaluating
from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import foreign
from hetconv.records import Circumstances, Latency

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class LatencyReport:
    """Latencies by model name, measured interleaved, and under which circumstances."""

    latencies: dict[str, Latency]
    circumstances: Circumstances

    def speedup(self, name: str, over: str = "dense") -> float:
        """Ratio of medians: how many times faster `name` is than `over`."""
        for wanted in (name, over):
            if wanted not in self.latencies:
                raise UsageError(f"{wanted!r} was not measured; there is {', '.join(self.latencies)}")
        return self.latencies[over].median_ms / self.latencies[name].median_ms


def latency(
    models: Mapping[str, nn.Module],
    example: Tensor,
    *,
    threads: int | None = None,
    samples: int = 20,
    memory_format: str = "fastest",
) -> LatencyReport:
    """Measure the forward pass of each model on the same input, in turns, so that the machine's drift hits all alike.

    Outputs are checked to be finite before anything is timed. The models are left as they were.

    Args:
        example: (B, C, H, W), on the models' device.
        threads: PyTorch's threads while measuring (its present number by default), set back afterwards.
        samples: timed rounds; a round times every model once, each for at least 10 ms.
        memory_format: channels_last, contiguous, or fastest: both are measured and each model's faster one is kept.

    Raises:
        UsageError: no models, a bad number, or a name that is unknown.
        HetconvError: a model's output is not finite.
    """
    formats = _formats(memory_format)
    if not models or samples < 1 or (threads is not None and threads < 1):
        raise UsageError(f"latency needs models, and samples={samples} and threads={threads} of at least 1")
    if not isinstance(example, Tensor) or example.dim() != 4:
        raise UsageError("example must be one tensor, (batch, channels, height, width)")
    with _threads(threads) as count:
        per_format = {name: _measure(models, example, name, samples) for name in formats}
    latencies = {
        name: min((timed[name] for timed in per_format.values()), key=lambda found: found.median_ms) for name in models
    }
    dtype = str(example.dtype).removeprefix("torch.")
    return LatencyReport(latencies, circumstances(example.device, dtype, memory_format, example.shape[0], count))


def layer_latencies(model: nn.Module, example: Tensor, names: list[str], samples: int = 20) -> dict[str, float]:
    """Median milliseconds that each named layer takes inside the model's forward pass, all its calls together."""
    started: dict[str, float] = {}
    spent: dict[str, float] = {}
    synchronize = _synchronizer(example)

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            synchronize()
            started[name] = time.perf_counter()

        return hook

    def stop(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            synchronize()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started[name]

        return hook

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_pre_hook(start(name)) for name in names]
    handles += [modules[name].register_forward_hook(stop(name)) for name in names]
    rounds: dict[str, list[float]] = {name: [] for name in names}
    try:
        with evaluating(model), torch.inference_mode():
            for sample in range(WARMUP_CALLS + samples):
                spent.clear()
                model(example)
                if sample >= WARMUP_CALLS:
                    for name in names:
                        rounds[name].append(spent.get(name, 0.0))
    finally:
        for handle in handles:
            handle.remove()
    return {name: 1000 * statistics.median(times) for name, times in rounds.items()}


def _formats(memory_format: str) -> list[str]:
    if memory_format == "fastest":
        return list(MEMORY_FORMATS)
    if memory_format not in MEMORY_FORMATS:
        raise UsageError(f"memory_format={memory_format!r} must be fastest, {' or '.join(MEMORY_FORMATS)}")
    return [memory_format]


def _measure(models: Mapping[str, nn.Module], example: Tensor, memory_format: str, samples: int) -> dict[str, Latency]:
    layout = MEMORY_FORMATS[memory_format]
    example = example.to(memory_format=layout)
    synchronize = _synchronizer(example)
    with _in_format(models.values(), layout), torch.inference_mode():
        for name, model in models.items():
            _check_output(name, model, example)
        gc.collect()
        times = times_in_turns(
            {name: wall(model, example, wait=synchronize) for name, model in models.items()}, samples
        )
    return {name: Latency.of(values, memory_format) for name, values in times.items()}


def _check_output(name: str, model: nn.Module, example: Tensor) -> None:
    with foreign(f"{name} does not take the example"):
        output = model(example)
    if isinstance(output, Tensor) and not torch.isfinite(output).all():
        raise HetconvError(f"{name} gives an output that is not finite; it is not timed")


def _synchronizer(example: Tensor) -> Callable[[], None]:
    return torch.cuda.synchronize if example.is_cuda else lambda: None


@contextmanager
def _threads(count: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def _in_format(models: Iterable[nn.Module], layout: torch.memory_format) -> Iterator[None]:
    """Evaluation mode and this memory format within; each model's own again after. Values never change.

    Not to be entered in inference mode, which would leave the parameters unfit for training.
    """
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(evaluating(model))
            stack.callback(model.to, memory_format=_format_of(model))
            model.to(memory_format=layout)
        yield


def _format_of(model: nn.Module) -> torch.memory_format:
    """channels_last if a weight is held so, else contiguous."""
    for weight in model.parameters():
        if weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            return torch.channels_last
    return torch.contiguous_format
