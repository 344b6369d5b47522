"""Removing filters from the layers that have them to themselves, as L1, auto-balanced and Bayesian pruning do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from hetconv.errors import UsageError
from hetconv.lab.compress.filters import check_share, keep_largest, kept_in_part
from hetconv.lab.compress.remove import FilterGroup, Surgery
from hetconv.lab.results import LayerChange


def private_groups(surgery: Surgery) -> list[FilterGroup]:
    """Groups of one convolution's own filters that can be removed: a chain's, and the inner ones of residual blocks.

    Raises:
        UsageError: there are none.
    """
    found = [group for group in surgery.groups if group.is_private and group.reason is None]
    if not found:
        reasons = dict.fromkeys(why_left(group) for group in surgery.groups)
        raise UsageError(f"no convolution of this network can lose filters of its own: {'; '.join(list(reasons)[:3])}")
    return found


def why_left(group: FilterGroup) -> str:
    """Why filters of this group are not removed one layer at a time."""
    if group.reason is not None:
        return group.reason
    if not group.convolutions:
        return "a linear layer, and no convolution"
    return f"its filters are added to those of {group.convolutions[-1]}"


def shares_by_name(groups: Sequence[FilterGroup], share: float, by_name: Mapping[str, float]) -> dict[str, float]:
    """The share of each group; a name or pattern of `by_name` goes before `share`, an earlier before a later one.

    Raises:
        UsageError: a share is not between 0 (the layer stays whole) and 1, or a pattern matches no group.
    """
    for pattern, value in by_name.items():
        if value != 0:
            check_share(value, f"share of {pattern!r}")
        if not any(fnmatchcase(group.name, pattern) for group in groups):
            names = ", ".join(group.name for group in groups[:4])
            raise UsageError(f"{pattern!r} matches no layer that can lose filters; there are {names}, …")
    return {
        group.name: next((value for pattern, value in by_name.items() if fnmatchcase(group.name, pattern)), share)
        for group in groups
    }


def keep_by_share(
    groups: Sequence[FilterGroup], scores: Mapping[str, Tensor], shares: Mapping[str, float]
) -> dict[str, tuple[int, ...]]:
    """The filters of the largest scores in each group.

    Raises:
        UsageError: that would be all of them.
    """
    kept = {
        group.name: keep_largest(
            scores[group.name], group.parts, kept_in_part(group.filters, group.parts, shares[group.name])
        )
        for group in groups
    }
    if all(len(kept[group.name]) == group.filters for group in groups):
        raise UsageError("no filter of any layer would be removed; raise the share")
    return kept


def remove(surgery: Surgery, kept: Mapping[str, Sequence[int]]) -> tuple[nn.Module, tuple[LayerChange, ...]]:
    """The smaller network and what became of each layer."""
    changes = [
        LayerChange(
            layer, "filters", group.filters, len(kept.get(group.name, range(group.filters))),
            None if group.name in kept else why_left(group),
        )
        for group in surgery.groups
        for layer in group.producers
    ]  # fmt: skip
    return surgery.remove(kept), tuple(changes)
