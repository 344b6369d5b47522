"""One layer on a GPU: its values, then its times beside those of what it replaces, and its floor."""

from __future__ import annotations

import traceback
from functools import partial

import torch
from gpu_plan import Plan
from gpu_timing import Call, as_graphs, timed, told
from peers import GroupedPlusPointwise, dense, depthwise_pointwise
from shapes import LayerShape
from torch import Tensor, nn

from hetconv import HetConv2d, het_conv2d
from hetconv.ops.arguments import geometry
from hetconv.ops.gpu.packed_weights import pack_for_inference
from hetconv.ops.packed import het_conv2d_packed, layer_numbers


def floor_ms(shape: LayerShape, batch: int, p: int, itemsize: int, ceiling: dict[str, float]) -> float | None:
    """The larger of the layer's multiply-adds and of its bytes (input, output, weights) at the device's ceilings.

    None where those were not measured.
    """
    if not ceiling:
        return None
    out = (shape.size + shape.stride - 1) // shape.stride
    macs = batch * out * out * shape.in_channels * shape.out_channels * (1 + 8 / p)
    elements = batch * (shape.size**2 * shape.in_channels + out * out * shape.out_channels)
    elements += shape.in_channels * shape.out_channels * (1 + 8 / p)
    return max(1e-9 * macs / ceiling["matrix_tmacs_per_s"], 1e-6 * itemsize * elements / ceiling["copy_gb_per_s"])


def layer_modules(shape: LayerShape, todo: Plan) -> dict[str, nn.Module]:
    sizes = (shape.in_channels, shape.out_channels, 3, shape.stride, 1)
    found: dict[str, nn.Module] = {"dense": dense(shape), "dwc-pwc": depthwise_pointwise(shape)}
    for p in todo.parts:
        found[f"grouped p{p}"] = GroupedPlusPointwise(shape, p)
        found[f"het p{p}"] = HetConv2d(*sizes, p=p, arrangement="blocked")
    found[f"shifted p{todo.parts[0]}"] = HetConv2d(*sizes, p=todo.parts[0], arrangement="shifted")
    return {
        name: module.to(todo.device, todo.dtype, memory_format=torch.channels_last) for name, module in found.items()
    }


def packed_call(layer: HetConv2d, x: Tensor) -> Call:
    """The layer on weights packed before; the layer itself where the GPU kernels do not run."""
    if not x.is_cuda:
        return lambda: layer(x)
    weights = pack_for_inference(layer.weight_spatial, layer.weight_pointwise, layer.pattern)
    where = geometry(layer.stride, layer.padding, layer.dilation, layer.kernel_size)
    numbers = layer_numbers(layer.pattern, where, None)
    return lambda: het_conv2d_packed(x, weights, layer.bias, None, numbers)


def compare(layer: HetConv2d, x: Tensor) -> None:
    """One image against float64, before anything is timed.

    Raises:
        ValueError: the error is above twice that of PyTorch's dense convolution, plus a few roundings.
    """
    with torch.no_grad():
        one = x[:1].contiguous(memory_format=torch.channels_last)
        masked = layer.to_dense().to(memory_format=torch.channels_last)
        usual = masked(one).double()
        exact = masked.double()(one.double())
        # tf32 may round operands where x is float32
        eps = 2**-10 if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
        allowed = 2 * (usual - exact).abs().max() + 8 * eps * exact.abs().max()
        for name, got in (("the layer", layer(one)), ("the packed layer", packed_call(layer, one)())):
            error = (got.double() - exact).abs().max()  # type: ignore[union-attr]
            if not error <= allowed:
                raise ValueError(f"{name} {layer} is off by {error:.3g}; allowed are {allowed:.3g}")


def compare_gradients(layer: HetConv2d, x: Tensor) -> None:
    """The same for the gradients of one image's input and of the weights, which are summed over its pixels.

    Raises:
        ValueError: as `compare`; the message names the gradient.
    """
    one = x[:1].contiguous(memory_format=torch.channels_last).requires_grad_()
    leaves = (one, layer.weight_spatial, layer.weight_pointwise)
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    options = {"stride": layer.stride, "padding": layer.padding, "arrangement": layer.arrangement}
    y = layer(one)
    grad = torch.randn_like(y)
    usual = het_conv2d(*leaves, backend="reference", **options)  # type: ignore[arg-type]
    exact = het_conv2d(*wide, backend="reference", **options)  # type: ignore[arg-type]
    found = torch.autograd.grad(y, leaves, grad)
    peer = torch.autograd.grad(usual, leaves, grad)
    right = torch.autograd.grad(exact, wide, grad.double())
    eps = 2**-10 if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
    for name, ours, theirs, true in zip(("x", "weight_spatial", "weight_pointwise"), found, peer, right, strict=True):
        error = (ours.double() - true).abs().max()
        allowed = 2 * (theirs.double() - true).abs().max() + 8 * eps * true.abs().max()
        if not error <= allowed:
            raise ValueError(f"{layer}: the gradient of {name} is off by {error:.3g}; allowed are {allowed:.3g}")


def layer_row(shape: LayerShape, training: bool, todo: Plan, ceiling: dict[str, float]) -> dict[str, object]:
    """Values, then times. A variant that is wrong or fails is named in the row, and the others are timed."""
    x = torch.randn(todo.batch, shape.in_channels, shape.size, shape.size, device=todo.device).to(todo.dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    failed: dict[str, str] = {}
    calls: dict[str, Call] = {}
    explained = ""
    for name, module in layer_modules(shape, todo).items():
        try:
            if isinstance(module, HetConv2d):
                compare(module, x)
                if training:
                    compare_gradients(module, x)
                explained = module.explain(x).backend
            calls |= {name: step(module, x)} if training else _forward_calls(name, module, x, todo)
        except Exception as error:
            traceback.print_exc()
            failed[name] = told(error)
    with torch.set_grad_enabled(training):
        recorded = as_graphs(calls, todo.device, failed)
        latency_ms = timed(recorded, todo.device, todo.rounds, todo.sample_ms)
    return {
        "kind": "layer",
        **vars(shape),
        "batch": todo.batch,
        "training": training,
        "backend": explained,
        "latency_ms": latency_ms,
        "failed": failed,
        "floor_ms": {f"p{p}": floor_ms(shape, todo.batch, p, todo.dtype.itemsize, ceiling) for p in todo.parts},
    }


def _forward_calls(name: str, module: nn.Module, x: Tensor, todo: Plan) -> dict[str, Call]:
    calls: dict[str, Call] = {name: partial(module, x)}
    if isinstance(module, HetConv2d) and name.startswith("het"):
        calls[name.replace("het", "packed")] = packed_call(module, x)
    if name == "dense" and todo.compiled:
        calls["dense compiled"] = partial(torch.compile(module, dynamic=False), x)
    return calls


def step(module: nn.Module, x: Tensor) -> Call:
    """Forward and backward pass: gradients of input, weights and bias."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    leaves = (x, *module.parameters())
    grad = torch.ones_like(module(x))
    return lambda: torch.autograd.grad(module(x), leaves, grad, allow_unused=True)
