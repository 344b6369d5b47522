from hypothesis import given
from hypothesis import strategies as st

from hetconv.layout.order import between, channel_order, identity, inverse, is_chain, joined, repeated
from hetconv.pattern import HetPattern, blocked_to_shifted, shifted_to_blocked


@given(st.integers(1, 8), st.integers(1, 8))
def test_one_p_is_the_patterns_own_permutation(p, per_part):
    channels = p * per_part
    assert channel_order(channels, (p,), "blocked") == shifted_to_blocked(channels, p)
    assert channel_order(channels, (p,), "shifted") == blocked_to_shifted(channels, p)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_every_p_of_a_chain_is_blocked_at_once(factors, rest):
    parts, product = [], 1
    for factor in factors:
        product *= factor
        parts.append(product)
    channels = product * rest
    order = channel_order(channels, tuple(parts), "blocked")
    back = channel_order(channels, tuple(parts), "shifted")
    assert back == inverse(order)
    for p in parts:
        shifted = HetPattern(channels, channels, 1, p, "shifted")
        blocked = shifted.rearranged("blocked")
        sets = {frozenset(order[b] for b in blocked.channels_of_part(part)) for part in range(p)}
        assert sets == {frozenset(shifted.channels_of_part(part)) for part in range(p)}


def test_chains():
    assert [is_chain(parts) for parts in ((2, 8, 4), (), (3,), (4, 6))] == [True, True, True, False]


def test_between_gathers_one_order_from_another():
    channels = "abcdef"
    source, target = (2, 0, 1, 5, 4, 3), (5, 4, 3, 2, 1, 0)
    tensor = [channels[c] for c in source]
    assert [tensor[i] for i in between(source, target)] == [channels[c] for c in target]
    assert between(source, source) == identity(6)


def test_features_move_with_their_channels():
    assert repeated((1, 0), 3) == (3, 4, 5, 0, 1, 2)
    assert joined([(1, 0), (0, 2, 1)]) == (1, 0, 2, 4, 3)
