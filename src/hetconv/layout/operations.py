"""What the functions and modules of PyTorch do to the order of channels, by name."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Target = Any

ELEMENTWISE_MODULES = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink, nn.Softplus, nn.Softshrink,
    nn.Softsign, nn.Tanhshrink, nn.Threshold, nn.RReLU, nn.Dropout, nn.AlphaDropout,
)  # fmt: skip
PER_MAP_MODULES = (
    nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
    nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d,
    nn.ReplicationPad2d, nn.CircularPad2d,
)  # fmt: skip
"""They work on each channel's H×W map alone."""

ELEMENTWISE = frozenset({
    torch.relu, torch.relu_, torch.sigmoid, torch.tanh, torch.exp, torch.log, torch.sqrt, torch.rsqrt, torch.abs,
    torch.neg, torch.clamp, torch.clone, operator.neg, functional.relu, functional.relu6, functional.leaky_relu,
    functional.elu, functional.selu, functional.celu, functional.gelu, functional.silu, functional.mish,
    functional.sigmoid, functional.tanh, functional.hardtanh, functional.hardswish, functional.hardsigmoid,
    functional.softplus, functional.dropout, functional.alpha_dropout,
    "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "exp", "log", "sqrt", "rsqrt", "abs", "neg", "clamp",
    "clamp_", "clone", "contiguous", "float", "half", "bfloat16", "double", "to", "type", "type_as", "detach", "cpu",
    "cuda",
})  # fmt: skip
BINARY = frozenset({
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    operator.itruediv, torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum,
    "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_",
})  # fmt: skip
PER_MAP = frozenset({
    functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d,
    functional.interpolate, functional.dropout2d, torch.max_pool2d,
})  # fmt: skip
REDUCTIONS = frozenset({torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin"})
FLATTEN = frozenset({torch.flatten, "flatten"})
RESHAPE = frozenset({torch.reshape, "view", "reshape"})
CAT = frozenset({torch.cat, torch.concat})
PERMUTE = frozenset({torch.permute, "permute"})
TRANSPOSE = frozenset({torch.transpose, "transpose"})
UNSQUEEZE = frozenset({torch.unsqueeze, "unsqueeze"})
WRAPPED = frozenset({"stochastic_depth"})
"""Elementwise functions of other libraries, registered with torch.fx by their name."""
SHAPE_ONLY = frozenset({getattr, "size", "dim", "numel", "stride", torch._assert})


def is_elementwise(target: Target) -> bool:
    return target in ELEMENTWISE or getattr(target, "__name__", None) in WRAPPED


def per_map_area(module: nn.Module, area: int | None) -> int | None:
    """H·W behind a module that works on maps, if it is known."""
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return adaptive_area(module.output_size)
    return area if isinstance(module, nn.Dropout2d) else None


def adaptive_area(size: Any) -> int | None:
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return height * width if isinstance(height, int) and isinstance(width, int) else None
