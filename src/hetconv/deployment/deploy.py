"""Deploying a network: from a trained model to the fastest module for inference on this machine's CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hetconv.cost.circumstances import circumstances
from hetconv.deployment.against_original import check_whole, trials
from hetconv.deployment.before_and_after import before_and_after
from hetconv.deployment.choose import Chooser
from hetconv.deployment.deploy_report import DeployedConvolution, DeployReport, NotCaptured
from hetconv.deployment.deployed import Deployed
from hetconv.deployment.example_calls import signatures
from hetconv.deployment.find_parts import CONVOLUTIONS, Finder, Part, Parts, put_parts
from hetconv.deployment.graph_convolutions import Site
from hetconv.deployment.int8.build import NotInt8Error, build
from hetconv.deployment.int8.int8_report import compare_accuracy, int8_report
from hetconv.deployment.trial import MissingAttributeError, try_out
from hetconv.errors import UsageError
from hetconv.graph.structure import take_out
from hetconv.ops import native
from hetconv.wrappers import copied, unwrap

Precision = Literal["float32", "int8"]


def deploy(
    model: nn.Module,
    example: Tensor | tuple[Any, ...],
    precision: Precision = "float32",
    calibration: Tensor | None = None,
    test: Iterable[tuple[Tensor, Tensor]] | None = None,
    *,
    timed: bool = True,
) -> Deployed:
    """The network as a new module for inference on this machine's CPU, as fast as the native kernels make it.

    Batch norms are folded into the convolutions and linear layers before them; residual additions and activations
    (relu, relu6, silu, hardswish, hardsigmoid, sigmoid, gelu) join the kernels; weights are packed; images are
    channels-last inside. HetConv layers run on the native kernels, standard ungrouped convolutions where measuring says
    that it is faster, everything else as it did. Where the native network has all of these operations, and measuring
    says that it is faster, all of them are one native call. A network that cannot be captured whole keeps its Python
    code, around the largest modules that can. The result is compared as a whole with the original, on the example and
    on another batch size. The original is left as it is. A network that was captured whole writes to none of its
    arguments, also where the original does.

    In 8 bits the whole network is one native call: activations u8, weights by filter, the first layer and the
    classifier in float32. The report says how much the outputs change and which layers stay float32.

    Args:
        model: a trained network, float32 on the CPU, in training or evaluation mode.
        example: a batch to measure and to check on; or the tuple of the arguments of `model`, if these are several.
        precision: "float32" or "int8".
        calibration: (n, C, H, W), some hundred images as the network gets them, from which 8 bits take their ranges.
        test: batches of (images, labels), on which the report says the accuracy in float32 and in 8 bits.
        timed: time the network before and after, in turns on the example, for the report's last line.

    Raises:
        UsageError: there are no native kernels here; the model is not float32 on the CPU, has no convolution, or does
            not take the example; or, of 8 bits, the calibration images do not fit or the network has an operation that
            the native network does not have.
        HetconvError: the result is not within the error budget of the original, or that gives NaN or infinity.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision={precision!r} must be one of {', '.join(get_args(Precision))}")
    if precision == "float32" and not (calibration is None and test is None):
        raise UsageError("calibration and test are for precision='int8'; float32 needs no images")
    network = unwrap(model)
    args = _checked(network, example)
    with torch.inference_mode(False), torch.no_grad():
        if precision == "int8":
            deployed = _deployed_int8(network, args, calibration, test)
        else:
            deployed = _deployed(network, args, Chooser())
        if timed:
            timing = before_and_after(copied(network).eval(), deployed, copy.deepcopy(args))
            deployed.report = replace(deployed.report, timing=timing)
        return deployed


def _deployed_int8(
    model: nn.Module, args: tuple[Any, ...], calibration: Tensor | None, test: Iterable[tuple[Tensor, Tensor]] | None
) -> Deployed:
    work = copied(model).eval()
    try:
        built = build(work, args, calibration)
    except NotInt8Error as error:
        raise UsageError(f"{type(model).__name__} does not run in 8 bits: {error}; precision='float32' does") from error
    accuracy = None if test is None else compare_accuracy(work, built.network, test)
    return Deployed(built.network, int8_report(built, args, accuracy))


def deploy_alike(model: nn.Module, example: Tensor, chooser: Chooser) -> Deployed:
    """`deploy` in float32, not timed, of one of several networks that are compared.

    Args:
        chooser: of all of them: layers that they share are measured once, and so run on the same kernels in each.
    """
    network = unwrap(model)
    with torch.inference_mode(False), torch.no_grad():
        return _deployed(network, _checked(network, example), chooser)


def _deployed(model: nn.Module, args: tuple[Any, ...], chooser: Chooser) -> Deployed:
    work = copied(model).eval()
    signatures(work, args)  # one line for a network that does not take the example
    tried = trials(work, copy.deepcopy(args))
    args = tried[0].args
    refused = dict[str, str]()
    while True:
        parts = Finder(work, args, chooser, refused, tried[0].right).parts()
        if not parts.found:
            reason = parts.left[0].reason if parts.left else "it has no convolution that the example reaches"
            raise UsageError(f"nothing of {type(model).__name__} can be deployed: {reason}")
        report = _report(work, parts, args)
        try:
            with put_parts(work, parts) as network:
                if not report.whole:
                    try_out(network, [part.deployed for part in parts.found], args)
                checks = check_whole(network, tried[1:] if report.whole else tried)
                return Deployed(network, replace(report, checks=(*report.checks, *checks)))
        except MissingAttributeError as error:
            refused[error.part] = f"the network's code reads its {error.key}"


def _checked(model: nn.Module, example: Any) -> tuple[Any, ...]:
    """The arguments of the model's call."""
    reason = native.why_not_loaded()
    if reason is not None:
        raise UsageError(f"deploy needs the native kernels: {reason}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise UsageError(f"model's {name} is lazy: its size is unknown until a first forward pass; run one first")
        _check_tensor(f"model's {name}", tensor, "model.float().cpu()")
    if not isinstance(example, Tensor | tuple):
        raise UsageError(f"example is a {type(example).__name__}; it must be a tensor, or the tuple of all arguments")
    args = (example,) if isinstance(example, Tensor) else example
    tensors: list[Tensor] = []
    for arg in args:
        try:
            take_out(arg, tensors)
        except TypeError:  # then the model is not captured whole, which its report says
            continue
    for tensor in tensors:
        _check_tensor("example", tensor, "example.float().cpu()")
    return args


def _check_tensor(name: str, tensor: Tensor, way_out: str) -> None:
    if tensor.device.type != "cpu" or (tensor.dtype != torch.float32 and tensor.is_floating_point()):
        raise UsageError(f"{name} is {tensor.dtype} on {tensor.device}; deploy wants float32 on the CPU: {way_out}")


def _report(model: nn.Module, parts: Parts, args: tuple[Any, ...]) -> DeployReport:
    convolutions = [_entry(part, site) for part in parts.found for site in part.prepared.sites]
    norms = [
        NotCaptured(_joined(part.names[0], name), reason)
        for part in parts.found
        for name, reason in part.prepared.norms
    ]
    parallel = {
        _joined(part.names[0], name): _joined(part.names[0], into)
        for part in parts.found
        for name, into in part.prepared.parallel.items()
    }
    batch = next((arg.shape[0] for arg in args if isinstance(arg, Tensor) and arg.dim()), 1)
    return DeployReport(
        (*convolutions, *_others(model, convolutions, parallel)),
        tuple(norms),
        tuple(part.checked for part in parts.found),
        parts.left,
        native.instruction_set(),
        circumstances(torch.device("cpu"), "float32", "channels_last", batch, torch.get_num_threads()),
        planned=tuple(part.planned for part in parts.found if part.planned is not None),
    )


def _entry(part: Part, site: Site) -> DeployedConvolution:
    times = site.times
    return DeployedConvolution(
        _joined(part.names[0], site.name),
        site.layer,
        site.runs_on,
        tuple(site.joined),
        "; ".join(site.notes),
        None if times is None else times.native_ms,
        None if times is None else times.torch_ms,
        site.algorithm,
    )


def _others(model: nn.Module, found: list[DeployedConvolution], parallel: dict[str, str]) -> list[DeployedConvolution]:
    """The convolutions that no captured graph has, or has no more."""
    known = {entry.name for entry in found}
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, CONVOLUTIONS):
            names.setdefault(module, []).append(name)
    others = []
    for module, (name, *aliases) in names.items():
        if not known & {name, *aliases}:
            into = parallel.get(name)
            where, note = (
                ("native", f"part of {into}") if into else ("module", "in no captured module, or never called")
            )
            others.append(DeployedConvolution(name, _words(module), where, (), note))
    return others


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}".strip(".")


def _words(module: nn.Module) -> str:
    sizes = "×".join(map(str, module.kernel_size))  # type: ignore[arg-type]
    return f"{type(module).__name__} {module.in_channels}→{module.out_channels} {sizes}"
