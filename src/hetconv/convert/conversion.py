"""Deciding what becomes of each convolution, and doing it all at once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from hetconv.convert.conversion_report import ConversionReport, Converted, Skipped
from hetconv.convert.model_convolutions import Site, describe, find_sites
from hetconv.convert.models import convertible_network
from hetconv.convert.refusals import why_not
from hetconv.convert.selection import Patterns, Selection, Where
from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import describe_error
from hetconv.nn import HetConv2d
from hetconv.pattern import ARRANGEMENTS, Arrangement, HetPattern

Factory = Callable[[str, nn.Conv2d], nn.Module]


class Planned(Protocol):
    """What names layers and their P."""

    @property
    def p_by_name(self) -> Mapping[str, int]: ...


def convert_(
    model: nn.Module,
    p: int | Planned = 4,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    where: Where | None = None,
    p_by_name: Mapping[str, int] | None = None,
    arrangement: Arrangement = "shifted",
) -> ConversionReport:
    """Replace the K×K convolutions of any model by HetConv layers, in place and without tracing it.

    Each new layer keeps what its pattern keeps of the trained kernel (`HetConv2d.from_dense`), with type, device,
    memory format, train or eval mode and frozen parameters as they were; a model with trained weights wants
    fine-tuning afterwards. Parameters are new ones: make the optimizer, DDP and `torch.compile` after the conversion.
    Code of the model that reads `conv.weight` of a converted layer no longer finds it.

    Nothing is traced and `forward` is not called. Either all layers are swapped or, on any error, none.

    Left as they are, each with its reason in the report: 1×1, grouped, depthwise, even, 1-d, 3-d, transposed, lazy and
    quantized convolutions; subclasses that compute something else; stems (up to three channels) that P does not
    divide; parametrized, pruned or hooked layers; layers that share a parameter with another module; HetConv layers.
    A module registered in several places is converted once and stays shared.

    Args:
        p: P of every layer; where it does not divide the channel counts, the largest smaller P that does. Or a plan
            (`hetconv.plan`), which names its layers; all others stay as they are.
        include, exclude: full module names (`layer1.0.conv1`) or glob patterns (`layer1.*`), one or several.
        where: asked as `where(name, conv)` for each convolution that could be converted; only those it agrees to are.
        p_by_name: name or glob pattern to P; a name goes before patterns, an earlier pattern before a later one.
            P=1 leaves a layer as it is.
        arrangement: "shifted", the paper's, or "blocked".

    Raises:
        UsageError: the model has no convolution, is one itself, or is wrapped (DDP, FSDP, TorchScript); a pattern
            matches no convolution; a P is not a positive integer.
        HetconvError: a layer could not be made; the message names it.
    """
    if arrangement not in ARRANGEMENTS:
        raise UsageError(f"arrangement={arrangement!r} must be one of {', '.join(ARRANGEMENTS)}")
    if not isinstance(p, int):
        planned = _planned(p)
        p, p_by_name = 1, planned if p_by_name is None else {**p_by_name, **planned}
    plan = _plan(model, Selection.of(p, include, exclude, where, p_by_name))
    p_of = {entry.name: entry.p for entry in plan.report.converted if entry.p is not None}

    def project(name: str, conv: nn.Conv2d) -> nn.Module:
        return _project(conv, p_of[name], arrangement)

    return _carry_out(plan, project)


def swap_(
    model: nn.Module,
    factory: Factory,
    *,
    p: int | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    where: Where | None = None,
    p_by_name: Mapping[str, int] | None = None,
) -> ConversionReport:
    """Put other blocks where `convert_` puts HetConv layers, with the same care and the same report.

    Args:
        factory: called as `factory(name, conv)`, returns the block that takes the convolution's place; device, type
            and mode are its business. A shared convolution is asked for once.
        p: with a number, the very places that `convert_` with that P would take, their P in the report; None takes
            all K×K convolutions but stems.
        include, exclude, where, p_by_name: as for `convert_`.

    Raises:
        UsageError: as `convert_`; also what the factory raises, with the layer's name before it.
        HetconvError: the factory failed otherwise.
    """
    return _carry_out(_plan(model, Selection.of(p, include, exclude, where, p_by_name)), factory)


def convertible(
    model: nn.Module,
    p: int = 4,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    where: Where | None = None,
    p_by_name: Mapping[str, int] | None = None,
) -> ConversionReport:
    """The report that `convert_` would return, without changing anything.

    Raises:
        UsageError: as `convert_`.
    """
    return _plan(model, Selection.of(p, include, exclude, where, p_by_name)).report


def _planned(p: Planned) -> Mapping[str, int]:
    found = getattr(p, "p_by_name", None)
    if not isinstance(found, Mapping):
        raise UsageError(f"p={p!r} must be a positive integer or a plan")
    return found


@dataclass(frozen=True)
class _Plan:
    """A verdict on every convolution."""

    verdicts: tuple[tuple[Site, Converted | Skipped], ...]

    @property
    def report(self) -> ConversionReport:
        entries = [entry for _, entry in self.verdicts]
        return ConversionReport(
            converted=tuple(entry for entry in entries if isinstance(entry, Converted)),
            skipped=tuple(entry for entry in entries if isinstance(entry, Skipped)),
        )


def _plan(model: nn.Module, selection: Selection) -> _Plan:
    sites = find_sites(convertible_network(model))
    if not sites:
        raise UsageError(f"{type(model).__name__} has no convolutions: there is nothing to convert")
    selection.check_against(sites)
    return _Plan(tuple((site, _verdict(site, selection)) for site in sites))


def _verdict(site: Site, selection: Selection) -> Converted | Skipped:
    name, aliases, layer = site.name, site.names[1:], describe(site.module)
    refusal = why_not(site)
    if refusal is None:
        refusal = selection.why_not(site)
    choice = selection.choose(site) if refusal is None else refusal
    if isinstance(choice, str):
        return Skipped(name, aliases, layer, choice)
    before, after = _params(site.module), _het_params(site.conv2d, choice.p)
    return Converted(name, aliases, layer, choice.reason, choice.requested_p, choice.p, before, after)


def _carry_out(plan: _Plan, factory: Factory) -> ConversionReport:
    """Make every new layer, and only then swap; the swap itself assigns to dicts, which cannot fail."""
    made: list[tuple[Site, nn.Module]] = []
    verdicts: list[tuple[Site, Converted | Skipped]] = []
    for site, entry in plan.verdicts:
        if isinstance(entry, Converted):
            layer = _make(factory, site.name, site.conv2d)
            made.append((site, layer))
            entry = replace(entry, params_after=_params(layer))
        verdicts.append((site, entry))
    for site, layer in made:
        for parent, key in site.places:
            parent._modules[key] = layer
    return _Plan(tuple(verdicts)).report


def _make(factory: Factory, name: str, conv: nn.Conv2d) -> nn.Module:
    try:
        layer = factory(name, conv)
    except UsageError as error:
        raise UsageError(f"cannot convert {name}: {error}") from error
    except Exception as error:
        raise HetconvError(f"cannot convert {name}: {describe_error(error)}") from error
    if not isinstance(layer, nn.Module):
        raise UsageError(f"cannot convert {name}: factory returned {layer!r}; it must return an nn.Module")
    if layer is conv:
        raise UsageError(f"cannot convert {name}: factory returned the convolution itself; exclude it instead")
    return layer


def _project(conv: nn.Conv2d, p: int, arrangement: Arrangement) -> HetConv2d:
    layer = HetConv2d.from_dense(_plain(conv), p, arrangement)
    weight = conv.weight
    if weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous():
        layer.to(memory_format=torch.channels_last)
    return layer


def _plain(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution under nn.Conv2d's own name, for subclasses that change nothing."""
    plain = nn.Conv2d.__new__(nn.Conv2d)
    plain.__dict__.update(vars(conv))
    return plain


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _het_params(conv: nn.Conv2d, p: int | None) -> int:
    pattern = HetPattern(conv.in_channels, conv.out_channels, (conv.kernel_size[0], conv.kernel_size[1]), p or 1)
    return pattern.weights + (0 if conv.bias is None else conv.out_channels)
