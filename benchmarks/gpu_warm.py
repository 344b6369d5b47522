"""Having everything compiled that `gpu.py` measures, by several processes at once."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial

import torch
from gpu_layers import layer_modules, packed_call, step
from gpu_networks import infer_call, network, train_call
from gpu_plan import Plan
from gpu_values import TYPES, checked
from shapes import LayerShape

from hetconv import HetConv2d
from hetconv.ops.gpu.choices import choices


def warm(todo: Plan, index: int, count: int) -> None:
    """Have every count-th piece compiled, which Triton and PyTorch keep on disk. Nothing is kept of the times."""
    choices().on_disk = False  # these processes share the GPU
    for number, piece in enumerate(_pieces(todo)):
        if number % count == index:
            try:
                piece()
            except Exception:  # it is met again, and reported, where it is measured
                traceback.print_exc()
            if todo.device.type == "cuda":
                torch.cuda.empty_cache()


def _pieces(todo: Plan) -> Iterator[Callable[[], object]]:
    """What has kernels to compile, the slowest first."""

    def once(name: str, size: int, batch: int, variant: str, training: bool) -> None:
        x = torch.randn(batch, 3, size, size, device=todo.device).contiguous(memory_format=torch.channels_last)
        model = network(name, variant).to(todo.device, memory_format=torch.channels_last)
        target = torch.zeros(batch, dtype=torch.long, device=todo.device)
        (train_call(model, x, target, todo.dtype) if training else infer_call(model, x, todo.dtype))()

    def layer(shape: LayerShape) -> None:
        x = torch.randn(todo.batch, shape.in_channels, shape.size, shape.size, device=todo.device).to(todo.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        for module in layer_modules(shape, todo).values():
            if isinstance(module, HetConv2d):
                step(module, x)()
                with torch.no_grad():
                    packed_call(module, x)()

    def values(dtype: torch.dtype) -> None:
        for _ in checked(dtype, todo.device, todo.seconds / 6):
            pass

    if todo.compiled:
        for dtype in TYPES:
            yield partial(values, dtype)
        name, size, _ = todo.networks[0]
        yield partial(once, name, size, todo.training_batch, "dense compiled", True)
        for name, size, batch in todo.networks:
            yield partial(once, name, size, batch, "dense compiled", False)
    for shape in todo.shapes:
        yield partial(layer, shape)
    for name, size, _ in todo.networks:
        for p in todo.parts:  # kernels do not depend on the batch; a small one leaves memory to the others
            yield partial(once, name, size, min(16, todo.batch), f"het-p{p}", True)
