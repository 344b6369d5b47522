"""What is measured: PyTorch's dense convolution, its usual ways to save multiply-adds, and HetConv."""

from __future__ import annotations

from collections.abc import Callable

import torch
from shapes import LayerShape
from torch import Tensor, nn

from hetconv import HetConv2d, pack

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
Call = Callable[[], Tensor]


class GroupedPlusPointwise(nn.Module):
    """K×K in P groups plus a full 1×1: how HetConv is usually run (the same function class)."""

    def __init__(self, shape: LayerShape, p: int) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(shape.in_channels, shape.out_channels, 3, shape.stride, 1, groups=p, bias=False)
        self.pointwise = nn.Conv2d(shape.in_channels, shape.out_channels, 1, shape.stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.grouped(x) + self.pointwise(x)  # type: ignore[no-any-return]


def depthwise_pointwise(shape: LayerShape) -> nn.Module:
    depthwise = nn.Conv2d(shape.in_channels, shape.in_channels, 3, shape.stride, 1, groups=shape.in_channels)
    return nn.Sequential(depthwise, nn.Conv2d(shape.in_channels, shape.out_channels, 1))


def dense(shape: LayerShape) -> nn.Module:
    return nn.Conv2d(shape.in_channels, shape.out_channels, 3, shape.stride, 1)


def het(shape: LayerShape, p: int) -> HetConv2d:
    return HetConv2d(shape.in_channels, shape.out_channels, 3, shape.stride, 1, p=p)


def check(layer: HetConv2d, x: Tensor, packed: nn.Module | None) -> None:
    """Compare with the masked dense convolution in float64, on one image of the batch, before anything is timed.

    Raises:
        ValueError: the error is above eight times that of PyTorch's dense convolution, plus a few roundings. Winograd's
            largest error is two to four times that of summing tap by tap, which is off by more or less than PyTorch.
    """
    with torch.no_grad():
        masked = layer.to_dense()
        usual = masked(x[:1])
        exact = masked.double()(x[:1].double())
        allowed = 8 * (usual - exact).abs().max() + 8 * torch.finfo(x.dtype).eps * exact.abs().max()
        for run in (layer, packed):
            if run is not None and (run(x)[:1] - exact).abs().max() > allowed:
                raise ValueError(f"{layer} differs from its definition by more than {allowed:.3g}")


def forward_calls(shape: LayerShape, batch: int, parts: tuple[int, ...]) -> dict[str, Call]:
    """Name → forward pass. `het` packs its weights at every call, `packed` did it before."""
    calls: dict[str, Call] = {}
    for name, memory_format in FORMATS.items():
        x = torch.randn(batch, shape.in_channels, shape.size, shape.size).contiguous(memory_format=memory_format)
        modules = {"dense": dense(shape), "dwc-pwc": depthwise_pointwise(shape)}
        for p in parts:
            modules[f"grouped p{p}"] = GroupedPlusPointwise(shape, p)
        calls |= {f"{key} {name}": _call(module.to(memory_format=memory_format), x) for key, module in modules.items()}
        if memory_format == torch.channels_last:
            for p in parts:
                layer = het(shape, p)
                packed = pack(layer, size=(batch, shape.size, shape.size))
                check(layer, x, packed)
                calls[f"het p{p} {name}"], calls[f"packed p{p} {name}"] = _call(layer, x), _call(packed, x)
    return calls


def training_calls(shape: LayerShape, batch: int, parts: tuple[int, ...]) -> dict[str, Call]:
    """Name → forward and backward pass, gradients of input, weights and bias."""
    calls: dict[str, Call] = {}
    for name, memory_format in FORMATS.items():
        x = torch.randn(batch, shape.in_channels, shape.size, shape.size).contiguous(memory_format=memory_format)
        modules: dict[str, nn.Module] = {"dense": dense(shape).to(memory_format=memory_format)}
        for p in parts:
            modules[f"grouped p{p}"] = GroupedPlusPointwise(shape, p).to(memory_format=memory_format)
            if memory_format == torch.channels_last:
                layer = het(shape, p)
                check(layer, x, None)
                modules[f"het p{p}"] = layer
        calls |= {f"{key} {name}": _step(module, x) for key, module in modules.items()}
    return calls


def _call(module: nn.Module, x: Tensor) -> Call:
    return lambda: module(x)  # type: ignore[no-any-return]


def _step(module: nn.Module, x: Tensor) -> Call:
    x = x.clone().requires_grad_()
    leaves = (x, *module.parameters())
    grad = torch.ones_like(module(x))

    def step() -> Tensor:
        return torch.autograd.grad(module(x), leaves, grad)[0]

    return step
