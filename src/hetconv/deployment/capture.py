"""Capturing a module as a graph of plain calls, without its Python code and for any batch and image size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Proxy, Tracer
from torch.fx.proxy import TraceError
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from hetconv.deployment.captured import Captured, CaptureError
from hetconv.deployment.structure import put_back
from hetconv.nn import HetConv2d, PackedHetConv2d
from hetconv.ops import het_conv2d

CONTROL_FLOW = "its control flow depends on the values or sizes of its input"


def capture(module: nn.Module, structure: Any, tensors: int) -> Captured:
    """The graph of `module(*args, **kwargs)`.

    Args:
        structure: (args, kwargs) with a `Slot` for each tensor.
        tensors: how many tensors there are; they become the graph's placeholders, in order.

    Raises:
        CaptureError: the module cannot be captured; the reason names where inside of it.
    """
    why_not = _why_not(module)
    if why_not is not None:
        raise CaptureError(why_not)
    tracer = _Tracer(structure, tensors)
    try:
        with torch.no_grad():
            graph = tracer.trace(_sharing_tensors(module))
    except CaptureError:
        raise
    except Exception as error:
        where = f"in {tracer.failed_in}: " if tracer.failed_in else ""
        raise CaptureError(f"{where}{_reason(error)}") from error
    return _with_constants(graph, tracer.root)


def _sharing_tensors(module: nn.Module) -> nn.Module:
    """A copy of the modules around the same tensors: what tracing leaves in attributes stays in the copy."""
    tensors = [*module.parameters(), *module.buffers()]
    shared = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    for inner in list(shared.modules()):
        if parametrize.is_parametrized(inner):
            _make_plain(inner)
    return shared


def _make_plain(module: nn.Module) -> None:
    """Parametrized tensors as what they are now; in a copy, whose originals are shared and must not change."""
    names = list(module.parametrizations)  # type: ignore[arg-type]
    with torch.no_grad():
        values = {name: getattr(module, name).clone() for name in names}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_buffer(name, value)


def _why_not(module: nn.Module) -> str | None:
    for name, inner in module.named_modules():
        at = f"{name} ({type(inner).__name__})" if name else f"it ({type(inner).__name__})"
        if isinstance(inner, torch.jit.ScriptModule):
            return f"{at} is TorchScript, whose code is fixed; deploy the model before scripting or tracing it"
        if isinstance(inner, PackedHetConv2d):
            return f"{at} is packed already; deploy the model before packing its layers"
        if inner._forward_hooks or inner._forward_pre_hooks:
            return f"{at} has forward hooks, which a graph would not run; remove them first"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, TraceError):
        return CONTROL_FLOW if "control flow" in str(error) else "it iterates over something of unknown length"
    if "'len' is not supported" in str(error):
        return "it asks for the length of something that only its input decides"
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, TypeError) and "Proxy" in lines[0]:
        return f"{CONTROL_FLOW} ({lines[0]})"
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def _tensor(root: nn.Module, node: Node) -> Tensor:
    value: Any = root
    for part in str(node.target).split("."):
        value = getattr(value, part)
    if not isinstance(value, Tensor):
        raise CaptureError(f"it passes {node.target}, a {type(value).__name__}, as a value")
    return value


def _with_constants(graph: Graph, root: nn.Module) -> Captured:
    """The graph with its constants, each with one node, under however many names and however often it is read."""
    constants: dict[str, Tensor] = {}
    first: dict[int, Node] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = _tensor(root, node)
            kept = first.setdefault(id(value), node)
            if kept is node:
                constants[str(node.target)] = value.detach()
            else:
                node.replace_all_uses_with(kept)
                graph.erase_node(node)
    return Captured(graph, constants)


class _Tracer(Tracer):
    """Follows a module's code down to calls of functions: no module is left in the graph.

    Attributes:
        failed_in: the innermost module whose code could not be followed.
    """

    proxy_buffer_attributes = True

    def __init__(self, structure: Any, tensors: int) -> None:
        super().__init__()
        self.structure, self.tensors = structure, tensors
        self.failed_in = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        inputs = [self.create_proxy("placeholder", f"x{index}", (), {}) for index in range(self.tensors)]
        args, kwargs = put_back(self.structure, inputs)
        forward = self._forward_of(self.root, partial(root_fn, self.root))
        return lambda root, *given: forward(*given, **kwargs), [self.root, *args]

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, self._forward_of(m, forward), args, kwargs)
        except Exception:
            if not self.failed_in:
                self.failed_in = f"{self.path_of_module(m)} ({type(m).__name__})"
            raise

    def _forward_of(self, m: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Some layers are one call: HetConv2d, and norms, which would look at their input's dimensions."""
        if type(m).forward is HetConv2d.forward:
            return lambda x: self._het_conv(m, x)
        if type(m).forward is _BatchNorm.forward:
            return lambda x: self._batch_norm(m, x)
        if type(m).forward is _InstanceNorm.forward:
            return lambda x: self._instance_norm(m, x)
        return forward

    def _het_conv(self, m: Any, x: Proxy) -> Proxy:
        padding = m.padding
        if m.padding_mode != "zeros":
            x, padding = functional.pad(x, m._pad_sides(), mode=m.padding_mode), 0  # type: ignore[arg-type, assignment]
        options = {"stride": m.stride, "padding": padding, "dilation": m.dilation, "arrangement": m.arrangement}
        weights = (m.weight_spatial, m.weight_pointwise, m.bias)
        return self.create_proxy("call_function", het_conv2d, (x, *weights), options)

    def _batch_norm(self, m: Any, x: Proxy) -> Proxy:
        """As `_BatchNorm.forward` in evaluation mode: statistics of the batch where none are kept."""
        running = (m.running_mean, m.running_var)
        momentum = 0.0 if m.momentum is None else m.momentum  # matters in training only
        statistics_of_batch = running[0] is None and running[1] is None
        args = (x, *running, m.weight, m.bias, statistics_of_batch, momentum, m.eps)
        return self.create_proxy("call_function", functional.batch_norm, args, {})

    def _instance_norm(self, m: Any, x: Proxy) -> Proxy:
        """As `_InstanceNorm.forward` of a batch in evaluation mode."""
        args = (x, m.running_mean, m.running_var, m.weight, m.bias, not m.track_running_stats, 0.0, m.eps)
        return self.create_proxy("call_function", functional.instance_norm, args, {})
