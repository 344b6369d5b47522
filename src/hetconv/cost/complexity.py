"""Multiply-adds and parameters of a whole model, counted in one real forward pass."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from hetconv.cost.layer_costs import COUNTED, layer_cost
from hetconv.errors import UsageError
from hetconv.foreign import foreign
from hetconv.records import Complexity, LayerCost

FREE_BY_CONVENTION = (
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "max_pool", "avg_pool", "dropout", "softmax", "mean",
    "sum", "amax", "amin", "max", "min", "argmax", "var", "std", "upsample", "interpolate", "pad", "cat", "stack",
    "index", "gather", "scatter", "select", "slice", "roll", "topk", "sort", "clone", "copy", "arange", "full",
    "zeros", "ones", "empty", "fill", "eye", "embedding", "nonzero", "lift", "scalar_tensor", "local_scalar",
    "bernoulli", "rand", "masked", "where", "cumsum", "any", "all", "nms", "meshgrid", "repeat", "flip", "linspace",
    "unsafe_view", "as_strided", "im2col", "unique", "split", "hardswish", "hardsigmoid",
)  # fmt: skip
"""Name parts of operators that no one counts as multiply-adds: normalization, pooling, reductions, copies, indexing."""


def complexity(
    model: nn.Module, input_size: Sequence[int] | None = None, *, example: Tensor | tuple[Any, ...] | None = None
) -> Complexity:
    """Count what one forward pass of one example costs, in total and by layer. The model is left as it was.

    Multiply-adds (MACs) are those of the layers' definition; a HetConv layer counts its own, whichever path runs it.
    What multiplies outside of convolution and linear layers (attention, …) is in the layer named "(other)".

    Args:
        input_size: (channels, height, width) of one example.
        example: instead, the model's own argument or arguments; counts are then for all of it.

    Returns:
        macs, params, paper_flops (the paper's count: biases included, a HetConv layer's counted 1/P), extra_layers
        (the paper's latency) and layers; `uncounted` lists operators without a formula and counted layers not reached.

    Raises:
        UsageError: neither or both of input_size and example are given, or the model does not take them.
    """
    from torch.utils.flop_counter import FlopCounterMode, flop_registry  # imports triton

    arguments = _arguments(model, input_size, example)
    calls: list[LayerCost] = []
    unknown = _UnknownOperators(flop_registry)
    counter = FlopCounterMode(display=False)
    refusal = foreign("the model does not take this input")
    with (
        evaluating(model), _recording(model, calls), _without_fused_attention(), torch.no_grad(), counter, unknown,
        refusal,
    ):  # fmt: skip
        model(*arguments)
    layers = _merged(calls)
    other = counter.get_total_flops() // 2 - sum(layer.macs for layer in layers)
    if other > 0:
        layers.append(LayerCost("(other)", "other", 0, 0, (), (), (), other, 0, other))
    reached = {layer.name for layer in layers}
    missed = [f"layer {name} was not called" for name, _ in _counted_modules(model) if name not in reached]
    return Complexity(
        macs=sum(layer.macs for layer in layers),
        params=sum(parameter.numel() for parameter in model.parameters()),
        paper_flops=sum(layer.paper_flops for layer in layers),
        extra_layers=sum(getattr(module, "extra_layers", 0) for module in model.modules()),
        layers=tuple(layers),
        uncounted=(*sorted(unknown.names), *missed),
    )


def _arguments(model: nn.Module, input_size: Sequence[int] | None, example: Any) -> tuple[Any, ...]:
    if (input_size is None) == (example is None):
        raise UsageError("give either input_size=(channels, height, width) or example=")
    if example is not None:
        return example if isinstance(example, tuple) else (example,)
    assert input_size is not None
    if len(input_size) != 3 or any(size < 1 for size in input_size):
        raise UsageError(f"input_size={tuple(input_size)} must be (channels, height, width), all positive")
    parameter = next(model.parameters(), torch.zeros(()))
    return (torch.zeros(1, *input_size, device=parameter.device, dtype=parameter.dtype),)


def _counted_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, COUNTED):
            yield name, module


@contextmanager
def _recording(model: nn.Module, calls: list[LayerCost]) -> Iterator[None]:
    def record(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
            (x,) = (*inputs, *named.values())[:1]
            calls.append(layer_cost(name, layer, tuple(x.shape), tuple(output.shape)))

        return hook

    handles = [module.register_forward_hook(record(name), with_kwargs=True) for name, module in _counted_modules(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """PyTorch's fused attention has no FLOP formula in every version; what it does one by one has."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within, each module's own mode again after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _merged(calls: list[LayerCost]) -> list[LayerCost]:
    """One entry a layer, in the order of first call; a layer called more than once costs the sum."""
    merged: dict[str, LayerCost] = {}
    for call in calls:
        if (seen := merged.get(call.name)) is None:
            merged[call.name] = call
        else:
            merged[call.name] = replace(
                seen, macs=seen.macs + call.macs, paper_flops=seen.paper_flops + call.paper_flops, calls=seen.calls + 1
            )
    return list(merged.values())


class _UnknownOperators(TorchDispatchMode):
    """Collects the operators that run, have no FLOP formula, and are not free by convention."""

    def __init__(self, formulas: Container[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas = formulas
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in self._formulas and not func.is_view and torch.Tag.pointwise not in func.tags:
            name = str(packet)
            if not any(part in name for part in FREE_BY_CONVENTION):
                self.names.add(name)
        return func(*args, **(kwargs or {}))
