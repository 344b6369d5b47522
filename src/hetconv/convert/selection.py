"""Which convolutions are asked for, and with which P."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from hetconv.convert.model_convolutions import Site
from hetconv.errors import HetconvError, UsageError
from hetconv.foreign import describe_error
from hetconv.pattern import largest_valid_p, valid_parts

Patterns = str | Sequence[str] | None
Where = Callable[[str, nn.Conv2d], bool]

IMAGE_CHANNELS = 3
"""A convolution that reads no more channels than this reads an image: it is a stem."""


@dataclass(frozen=True)
class Choice:
    """The P that a convolution gets, why, and what was asked for."""

    p: int | None
    requested_p: int | None
    reason: str


@dataclass(frozen=True)
class Selection:
    """The arguments of `convert_` that select, checked and brought to one form."""

    p: int | None
    include: tuple[str, ...] | None
    exclude: tuple[str, ...]
    where: Where | None
    p_by_name: Mapping[str, int]

    @classmethod
    def of(
        cls,
        p: int | None,
        include: Patterns,
        exclude: Patterns,
        where: Where | None,
        p_by_name: Mapping[str, int] | None,
    ) -> Selection:
        """Check the arguments alone; `check_against` checks them against a model.

        Raises:
            UsageError: a P is not a positive integer, or an argument is of another type.
        """
        if p is not None:
            _check_p("p", p)
        by_name = {} if p_by_name is None else dict(p_by_name)
        for pattern, value in by_name.items():
            _check_p(f"p_by_name[{pattern!r}]", value)
        if where is not None and not callable(where):
            raise UsageError(f"where={where!r} must be a function of (name, conv), or None")
        included = None if include is None else _patterns("include", include)
        excluded = () if exclude is None else _patterns("exclude", exclude)
        return cls(p, included, excluded, where, by_name)

    def check_against(self, sites: Iterable[Site]) -> None:
        """Every pattern must match a convolution of the model, or it is a misspelling.

        Raises:
            UsageError: one does not; the message names the nearest names.
        """
        names = [name for site in sites for name in site.names]
        named = {"include": self.include or (), "exclude": self.exclude, "p_by_name": tuple(self.p_by_name)}
        for argument, patterns in named.items():
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise UsageError(f"{argument}: {pattern!r} matches no convolution; {_nearest(pattern, names)}")

    def why_not(self, site: Site) -> str | None:
        """Why the convolution is not asked for; None if it is."""
        if self.include is not None and _match(site, self.include) is None:
            return "not in include"
        excluding = _match(site, self.exclude)
        if excluding is not None:
            return f"excluded by {excluding!r}"
        return "refused by where" if self.where is not None and not _asked(self.where, site) else None

    def choose(self, site: Site) -> Choice | str:
        """The largest valid P up to the one asked for, or why there is none."""
        requested = self._requested_p(site)
        m, n = site.conv2d.in_channels, site.conv2d.out_channels
        stem = m <= IMAGE_CHANNELS
        if requested is None:
            return f"stem: in_channels={m} is an image's" if stem else Choice(None, None, "a K×K convolution")
        if requested == 1:
            return "p=1 is the standard convolution that it is"
        if stem and m % requested:
            return f"stem: p={requested} does not divide in_channels={m}{_way_out(m, n)}"
        p = largest_valid_p(m, n, requested)
        if p == 1:
            return f"p={requested} does not divide in_channels={m} and out_channels={n}{_way_out(m, n)}"
        if p == requested:
            return Choice(p, requested, f"p={p}")
        return Choice(
            p, requested, f"p={p}, the largest up to {requested} that divides in_channels={m} and out_channels={n}"
        )

    def _requested_p(self, site: Site) -> int | None:
        """A name of the convolution goes before globs, and the first glob before the others."""
        for name in site.names:
            if name in self.p_by_name:
                return self.p_by_name[name]
        pattern = _match(site, self.p_by_name)
        return self.p if pattern is None else self.p_by_name[pattern]


def _asked(where: Where, site: Site) -> bool:
    try:
        return bool(where(site.name, site.conv2d))
    except Exception as error:
        raise HetconvError(f"where failed on {site.name}: {describe_error(error)}") from error


def _patterns(argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UsageError(f"{argument}={value!r} must be a name, a glob pattern, or a sequence of them")
    return patterns


def _match(site: Site, patterns: Iterable[str]) -> str | None:
    """The first pattern that matches one of the convolution's names."""
    return next((p for p in patterns if any(fnmatchcase(name, p) for name in site.names)), None)


def _nearest(pattern: str, names: list[str]) -> str:
    if any(name.startswith(f"{pattern}.") for name in names):
        return f"it holds convolutions: write '{pattern}.*'"
    return f"nearest: {', '.join(get_close_matches(pattern, names, cutoff=0))}"


def _way_out(in_channels: int, out_channels: int) -> str:
    """What could be asked for instead."""
    valid = valid_parts(in_channels, out_channels)[1:]
    if not valid:
        return f", and nothing above 1 divides both {in_channels} and {out_channels}"
    return f"; p_by_name can ask for p={valid[0]}"


def _check_p(argument: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{argument}={value!r} must be a positive integer")
