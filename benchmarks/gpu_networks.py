"""Whole networks on a GPU: forward, and a training step."""

from __future__ import annotations

import traceback

import torch
from gpu_plan import Plan
from gpu_timing import Call, as_graphs, graphed, timed, told
from peers import GroupedPlusPointwise
from shapes import LayerShape
from torch import Tensor, nn

from hetconv import HetConv2d, convert_
from hetconv.lab import create_model


def network_row(name: str, size: int, batch: int, training: bool, todo: Plan) -> dict[str, object]:
    """Forward, or a whole training step: loss, gradients, SGD with momentum; autocast in the plan's type.

    Forward as a CUDA graph; training as it is usually run, and as a graph too, which leaves launches from Python out.
    A variant that fails is named in the row, and the others are measured.
    """
    x = torch.randn(batch, 3, size, size, device=todo.device).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 10, (batch,), device=todo.device)
    calls: dict[str, Call] = {}
    failed: dict[str, str] = {}
    for variant in _variants(size, training, todo):
        try:
            model = network(name, variant).to(todo.device, memory_format=torch.channels_last)
            call = train_call(model, x, target, todo.dtype) if training else infer_call(model, x, todo.dtype)
            call()
            calls[variant] = call
            print(f"         {variant} runs", flush=True)  # a long silence is taken for a process that is blocked
        except Exception as error:
            traceback.print_exc()
            failed[variant] = told(error)
    rounds = max(2, todo.rounds // 2)
    latency_ms = timed(calls, todo.device, rounds, todo.sample_ms)
    graphed_ms = {}
    if training and size == todo.networks[0][1]:
        try:  # behind the usual times, which are safe by then
            few = {variant: call for variant, call in calls.items() if variant in ("dense", "het-p4", "het-p8")}
            recorded = as_graphs(few, todo.device, unrecorded := {})
            failed |= {f"{variant} as a graph": why for variant, why in unrecorded.items()}
            graphed_ms = timed(recorded, todo.device, rounds, todo.sample_ms)
        except Exception as error:
            failed["graphs"] = told(error)
    return {
        "kind": "network",
        "network": name,
        "size": size,
        "batch": batch,
        "training": training,
        "latency_ms": latency_ms,
        "graphed_ms": graphed_ms,
        "failed": failed,
    }


def _variants(size: int, training: bool, todo: Plan) -> list[str]:
    compiled = todo.compiled and (not training or size == 32)
    variants = ["dense", *(["dense compiled"] if compiled else []), "dwc-pwc"]
    return variants + [f"{kind}-p{p}" for p in todo.parts for kind in ("grouped", "het")]


def network(name: str, variant: str) -> nn.Module:
    if variant == "dense compiled":
        return torch.compile(create_model(name, num_classes=10), dynamic=False)  # type: ignore[return-value]
    if variant in ("dense", "dwc-pwc"):
        return create_model(name, variant, num_classes=10)
    kind, p = variant.split("-p")
    model = create_model(name, num_classes=10)
    convert_(model, p=int(p), arrangement="blocked")
    return _grouped(model) if kind == "grouped" else model


def _grouped(model: nn.Module) -> nn.Module:
    """The same network with every HetConv as it is usually run: a grouped convolution plus a 1×1."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, HetConv2d) and layer.kernel_size == (3, 3):
            shape = LayerShape("", layer.in_channels, layer.out_channels, 0, layer.stride[0])
            model.set_submodule(name, GroupedPlusPointwise(shape, layer.p))
    return model


def infer_call(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Call:
    """In the type itself, as a CUDA graph: launches are not what is compared."""
    model.eval().to(dtype)
    x = x.to(dtype)

    def call() -> None:
        with torch.no_grad():
            model(x)

    return graphed(call, x.device)


def train_call(model: nn.Module, x: Tensor, target: Tensor, dtype: torch.dtype) -> Call:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        # rounded weights are not kept: a graph would keep those of the step that was recorded
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()

    return call
