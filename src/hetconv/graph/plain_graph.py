"""Capturing a module as a graph of plain calls, without its Python code and for any batch and image size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Proxy
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from hetconv.graph.captured import Captured
from hetconv.graph.structure import put_back, same, snapshot
from hetconv.graph.tracing import CaptureError, ValueTracer, reason_of
from hetconv.nn import HetConv2d, PackedHetConv2d
from hetconv.ops import het_conv2d


def capture(module: nn.Module, structure: Any, tensors: int) -> tuple[Captured, str | None]:
    """The graph of `module(*args, **kwargs)`, and what the module's code does beside, which a graph does not.

    That is a change of a list or dict that it is given, or of an attribute; None if there is no such.

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
            shared = _sharing_tensors(module)
            attributes = _attributes(shared)
            graph = tracer.trace(shared)
    except CaptureError:
        raise
    except Exception as error:
        where = f"in {tracer.failed_in}: " if tracer.failed_in else ""
        raise CaptureError(f"{where}{reason_of(error)}") from error
    effect = "it changes a list or dict that it is given" if tracer.changes_an_argument else None
    for name, value in _attributes(shared).items():
        if effect is None and not (name in attributes and same(attributes[name], value)):
            effect = f"it leaves something in its attribute {name}"
    return _with_constants(graph, tracer.root), effect


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Every attribute of the module and of those in it; lists, tuples and dicts as they are now."""
    return {
        f"{name}.{key}".lstrip("."): snapshot(value)
        for name, inner in module.named_modules()
        for key, value in vars(inner).items()
        if not key.startswith("_tensor_constant")  # what tracing itself keeps there
    }


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


class _Tracer(ValueTracer):
    """Follows a module's code down to calls of functions: no module is left in the graph.

    Attributes:
        failed_in: the innermost module whose code could not be followed.
        inputs: of the graph.
        arguments: of the module's call, as its code left them.
    """

    proxy_buffer_attributes = True

    def __init__(self, structure: Any, tensors: int) -> None:
        super().__init__()
        self.structure, self.tensors = structure, tensors
        self.failed_in = ""
        self.inputs: list[Proxy] = []
        self.arguments: Any = None

    @property
    def changes_an_argument(self) -> bool:
        """Whether the code left other things in a list or dict of its arguments than it was given there."""
        return not same(self.arguments, put_back(self.structure, self.inputs))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        self.inputs = [self.create_proxy("placeholder", f"x{index}", (), {}) for index in range(self.tensors)]
        self.arguments = args, kwargs = put_back(self.structure, self.inputs)
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
            return lambda *x, **named: self._het_conv(m, *x, *named.values())
        if type(m).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
            return lambda *x, **named: self._batch_norm(m, *x, *named.values())
        if type(m).forward is _InstanceNorm.forward:
            return lambda *x, **named: self._instance_norm(m, *x, *named.values())
        return forward

    def _het_conv(self, m: Any, x: Proxy) -> Proxy:
        padding = m.padding
        if m.padding_mode != "zeros":
            x, padding = functional.pad(x, m._pad_sides(), mode=m.padding_mode), 0  # type: ignore[arg-type, assignment]
        options = {"stride": m.stride, "padding": padding, "dilation": m.dilation}
        if m.p == 1:
            return self.create_proxy("call_function", functional.conv2d, (x, m.weight_spatial, m.bias), options)
        weights = (m.weight_spatial, m.weight_pointwise, m.bias)
        return self.create_proxy("call_function", het_conv2d, (x, *weights), options | {"arrangement": m.arrangement})

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
