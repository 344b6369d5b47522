"""Which order each channel space gets, so that every HetConv layer finds its parts where it wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hetconv.layout.flow import Flow, HetCalls, Move
from hetconv.layout.order import Order, channel_order, identity, is_chain, joined, repeated
from hetconv.layout.spaces import Segments, Space
from hetconv.pattern import Arrangement


class Orders:
    """The solution: an order for every space of a network.

    Where a layer cannot have its order in a space it shares, it gets a space of its own, and a move between the two
    joins the flow's others.
    """

    def __init__(self, flow: Flow, to: Arrangement) -> None:
        self.flow, self.to = flow, to
        self.moved = [calls for calls in flow.het.values() if calls.layer.arrangement != to]
        for calls in flow.het.values():
            if calls.layer.arrangement == to:
                for space in (*calls.source, *calls.target):
                    space.fix(f"{calls.name} (p={calls.layer.p}) is {to} already")
        while (conflict := self._conflict()) is not None:
            self._part(*conflict)
        self.parts = self._parts()

    def of(self, segments: Segments | None, features: int) -> Order:
        """The order of a tensor's channels, given the number of its features; None is the author's order."""
        if segments is None:
            return identity(features)
        order = joined(self._of_space(space) for space in segments)
        return repeated(order, features // len(order))

    def _of_space(self, space: Space) -> Order:
        return channel_order(space.channels, self.parts.get(space.root, ()), self.to)

    def _parts(self) -> dict[Space, tuple[int, ...]]:
        """For each space that is asked for one, the numbers of parts to sort by.

        A layer's parts must stand in the same order on both sides, so a space sorts by all P of its component that
        divide its largest own one.
        """
        wanted = self._wanted()
        component = _components(wanted, self.moved)
        every: dict[Space, set[int]] = {}
        for space, layers in wanted.items():
            every.setdefault(component[space], set()).update(calls.layer.p for calls in layers)
        found = {}
        for space, layers in wanted.items():
            largest = max(calls.layer.p for calls in layers)
            found[space] = tuple(sorted(p for p in every[component[space]] if largest % p == 0))
        return found

    def _wanted(self) -> dict[Space, list[HetCalls]]:
        wanted: dict[Space, list[HetCalls]] = {}
        for calls in self.moved:
            for space in (*calls.source, *calls.target):
                wanted.setdefault(space.root, []).append(calls)
        return wanted

    def _conflict(self) -> tuple[HetCalls, Space, str] | None:
        """A layer that cannot have its order in a space, and why."""
        for space, layers in self._wanted().items():
            if space.fixed is not None:
                for calls in layers:
                    if channel_order(space.channels, (calls.layer.p,), self.to) != identity(space.channels):
                        return (
                            calls,
                            space,
                            f"{calls.name} (p={calls.layer.p}) meets channels that cannot move: {space.fixed}",
                        )
            counted = Counter(calls.layer.p for calls in layers)
            if not is_chain(counted):
                pairs = [
                    (one, other) for one in layers for other in layers if not is_chain((one.layer.p, other.layer.p))
                ]
                rarest, other = min(pairs, key=lambda pair: counted[pair[0].layer.p])
                told = f"{rarest.name} (p={rarest.layer.p}) and {other.name} (p={other.layer.p}) share channels"
                return rarest, space, f"{told}, and neither P divides the other"
        for space, parts in self._parts().items():
            if not is_chain(parts) or (
                space.fixed is not None and channel_order(space.channels, parts, self.to) != identity(space.channels)
            ):
                calls = self._wanted()[space][0]
                return (
                    calls,
                    space,
                    f"{calls.name} (p={calls.layer.p}) cannot have its parts in the same order on both sides",
                )
        return None

    def _part(self, calls: HetCalls, space: Space, why: str) -> None:
        """Give a layer a space of its own, with moves to and from the one it shared."""
        if calls.source[0].root is space:
            public, calls.source = calls.source, (Space(calls.layer.in_channels),)
            for graph, node in calls.calls:
                value = node.all_input_nodes[0]
                self.flow.moves.append(Move(graph, node, value, public, calls.source, 1, 1, why))
        if calls.target[0].root is space:
            public, calls.target = calls.target, (Space(calls.layer.out_channels),)
            for graph, node in calls.calls:
                self.flow.moves.append(Move(graph, node, node, calls.target, public, 1, 1, why))


def _components(spaces: Iterable[Space], layers: Iterable[HetCalls]) -> dict[Space, Space]:
    """Each space's representative among those that layers connect."""
    leader = {space: space for space in spaces}

    def find(space: Space) -> Space:
        while leader[space] is not space:
            space = leader[space]
        return space

    for calls in layers:
        leader[find(calls.source[0].root)] = find(calls.target[0].root)
    return {space: find(space) for space in leader}
