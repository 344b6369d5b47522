"""In which order channels stand, so that the parts of HetConv layers are where an arrangement has them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hetconv.pattern import Arrangement

Order = tuple[int, ...]
"""Position → the channel that stands there."""


def identity(channels: int) -> Order:
    return tuple(range(channels))


def inverse(order: Order) -> Order:
    """Channel → its position."""
    found = [0] * len(order)
    for position, channel in enumerate(order):
        found[channel] = position
    return tuple(found)


def channel_order(channels: int, parts: tuple[int, ...], to: Arrangement) -> Order:
    """The order that brings layers with these numbers of parts to an arrangement, all at once.

    Towards `blocked`, channels are sorted by (c mod P1, c mod P2, …): the parts of P1 are contiguous, within them those
    of P2, and so on. Towards `shifted` it is the inverse.

    Args:
        parts: P1, P2, …, each a divisor of the next, all divisors of `channels`; none: channels stay where they are.
    """
    blocked = tuple(sorted(range(channels), key=lambda channel: tuple(channel % p for p in parts)))
    return blocked if to == "blocked" else inverse(blocked)


def is_chain(parts: Iterable[int]) -> bool:
    """Whether each number divides the next larger one."""
    ordered = sorted(set(parts))
    return all(larger % smaller == 0 for smaller, larger in pairwise(ordered))


def repeated(order: Order, inner: int) -> Order:
    """The order of features when each channel has `inner` of them that move together."""
    return order if inner == 1 else tuple(channel * inner + i for channel in order for i in range(inner))


def joined(orders: Iterable[Order]) -> Order:
    """The order of concatenated tensors, each with its own."""
    found: list[int] = []
    for order in orders:
        start = len(found)
        found.extend(start + channel for channel in order)
    return tuple(found)


def between(source: Order, target: Order) -> Order:
    """What to gather, position by position, from a tensor in one order to have it in another."""
    position_of = inverse(source)
    return tuple(position_of[channel] for channel in target)
