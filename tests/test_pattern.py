"""Who gets K×K: hand-written small layers, closed forms, and the way between the two arrangements."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hetconv.errors import UsageError
from hetconv.pattern import (
    HetPattern,
    blocked_to_shifted,
    largest_valid_p,
    nearest_valid_p,
    shifted_to_blocked,
    valid_parts,
)


@st.composite
def patterns(draw):
    p = draw(st.integers(1, 8))
    in_channels, out_channels = p * draw(st.integers(1, 6)), p * draw(st.integers(1, 6))
    kernel_size = draw(st.sampled_from([1, 3, 5, 7, (1, 3), (5, 3)]))
    return HetPattern(in_channels, out_channels, kernel_size, p, draw(st.sampled_from(["shifted", "blocked"])))


@pytest.mark.parametrize(
    ("sizes", "arrangement", "expected"),
    [
        ((4, 4, 2), "shifted", [(0, 2), (1, 3), (0, 2), (1, 3)]),
        ((4, 4, 2), "blocked", [(0, 1), (0, 1), (2, 3), (2, 3)]),
        ((8, 4, 4), "shifted", [(0, 4), (1, 5), (2, 6), (3, 7)]),
        ((8, 4, 4), "blocked", [(0, 1), (2, 3), (4, 5), (6, 7)]),
        ((3, 6, 3), "shifted", [(0,), (1,), (2,), (0,), (1,), (2,)]),
        ((3, 6, 3), "blocked", [(0,), (0,), (1,), (1,), (2,), (2,)]),
        ((2, 3, 1), "shifted", [(0, 1), (0, 1), (0, 1)]),
    ],
)
def test_spatial_channels_written_by_hand(sizes, arrangement, expected):
    in_channels, out_channels, p = sizes
    pattern = HetPattern(in_channels, out_channels, 3, p, arrangement)
    assert [pattern.spatial_channels(n) for n in range(out_channels)] == expected
    others = [tuple(c for c in range(in_channels) if c not in channels) for channels in expected]
    assert [pattern.pointwise_channels(n) for n in range(out_channels)] == others


@given(patterns())
def test_filter_starts_at_n_mod_p_and_repeats_every_p(pattern):
    """The paper's figure 3."""
    shifted = pattern.rearranged("shifted")
    for n in range(pattern.out_channels):
        channels = shifted.spatial_channels(n)
        assert channels[0] == n % pattern.p
        assert all(b - a == pattern.p for a, b in pairwise(channels))


@given(patterns())
def test_every_channel_is_seen_by_as_many_kernels(pattern):
    seen = [c for n in range(pattern.out_channels) for c in pattern.spatial_channels(n)]
    assert {seen.count(c) for c in range(pattern.in_channels)} == {pattern.out_channels // pattern.p}
    for n in range(pattern.out_channels):
        both = pattern.spatial_channels(n) + pattern.pointwise_channels(n)
        assert sorted(both) == list(range(pattern.in_channels))
        assert {pattern.part_of_channel(c) for c in pattern.spatial_channels(n)} == {pattern.part_of_filter(n)}


@given(patterns())
def test_counts_follow_the_closed_forms(pattern):
    m, n, p, (height, width) = pattern.in_channels, pattern.out_channels, pattern.p, pattern.kernel_size
    assert pattern.spatial_shape == (n, m // p, height, width)
    assert pattern.pointwise_shape == (n, m - m // p)
    assert pattern.weights == pattern.macs_per_position == n * (height * width * (m // p) + m - m // p)


@pytest.mark.parametrize(("p", "weights"), [(1, 36864), (2, 20480), (4, 12288), (8, 8192), (64, 4608)])
def test_counts_of_a_64_channel_layer(p, weights):
    """64·64·9 = 36864, times 1/P + (1 − 1/P)/9."""
    assert HetPattern(64, 64, 3, p).weights == weights


@given(patterns())
def test_permutations_are_inverse(pattern):
    for channels in (pattern.in_channels, pattern.out_channels):
        there, back = shifted_to_blocked(channels, pattern.p), blocked_to_shifted(channels, pattern.p)
        assert [there[b] for b in back] == [back[b] for b in there] == list(range(channels))


@given(patterns())
def test_permutations_carry_a_shifted_layer_into_a_blocked_one(pattern):
    shifted, blocked = pattern.rearranged("shifted"), pattern.rearranged("blocked")
    channels = shifted_to_blocked(pattern.in_channels, pattern.p)
    filters = shifted_to_blocked(pattern.out_channels, pattern.p)
    for n in range(pattern.out_channels):
        assert tuple(channels[c] for c in blocked.spatial_channels(n)) == shifted.spatial_channels(filters[n])


@given(patterns())
def test_permutations_carry_real_outputs(pattern):
    shifted, blocked = pattern.rearranged("shifted"), pattern.rearranged("blocked")
    channels = list(shifted_to_blocked(pattern.in_channels, pattern.p))
    filters = list(shifted_to_blocked(pattern.out_channels, pattern.p))
    kernel = torch.zeros(pattern.out_channels, pattern.in_channels, *pattern.kernel_hw, dtype=torch.float64)
    moved = torch.zeros_like(kernel)
    for n in range(pattern.out_channels):
        for c in shifted.spatial_channels(n):
            kernel[n, c] = torch.randint(-3, 4, pattern.kernel_hw)
    for n in range(pattern.out_channels):
        for c in blocked.spatial_channels(n):
            moved[n, c] = kernel[filters[n], channels[c]]
    assert moved.abs().sum() == kernel.abs().sum()  # nothing of the kernel is lost
    x = torch.randint(-3, 4, (1, pattern.in_channels, 7, 7)).double()
    output = torch.nn.functional.conv2d(x, kernel)
    in_blocked = torch.nn.functional.conv2d(x[:, channels], moved)
    assert torch.equal(output[:, filters], in_blocked)
    assert torch.equal(output, in_blocked[:, list(blocked_to_shifted(pattern.out_channels, pattern.p))])


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "p", "valid", "largest", "nearest"),
    [
        (64, 64, 5, (1, 2, 4, 8, 16, 32, 64), 4, (4, 8)),
        (6, 9, 2, (1, 3), 1, (1, 3)),
        (3, 64, 4, (1,), 1, (1,)),
        (12, 12, 12, (1, 2, 3, 4, 6, 12), 12, (12,)),
        (12, 12, 99, (1, 2, 3, 4, 6, 12), 12, (12,)),
    ],
)
def test_valid_p(in_channels, out_channels, p, valid, largest, nearest):
    assert valid_parts(in_channels, out_channels) == valid
    assert largest_valid_p(in_channels, out_channels, p) == largest
    assert nearest_valid_p(in_channels, out_channels, p) == nearest


def test_is_plain_data():
    pattern = HetPattern(8, 8, 3)
    assert pattern == HetPattern(8, 8, (3, 3), 4, "shifted") == HetPattern(8, 8, [3, 3])
    assert hash(pattern) == hash(HetPattern(8, 8, (3, 3)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pattern.p = 2


WRONG = {
    "in_channels=0 must be a positive integer": {"in_channels": 0},
    "out_channels=-4 must be a positive integer": {"out_channels": -4},
    "p=0 must be a positive integer": {"p": 0},
    "p=4.0 must be a positive integer": {"p": 4.0},
    "p=True must be a positive integer": {"p": True},
    "p=None must be a positive integer": {"p": None},
    "p='4' must be a positive integer": {"p": "4"},
    "kernel_size=0 must be a positive integer": {"kernel_size": 0},
    "kernel_size=1.5 must be a positive integer": {"kernel_size": 1.5},
    "kernel_size=None must be a positive integer": {"kernel_size": None},
    "kernel_size=4 must be odd, to have a centre tap; nearest: 3 or 5": {"kernel_size": (3, 4)},
    "kernel_size=(3, 3, 3) must be one number or two (height, width)": {"kernel_size": (3, 3, 3)},
    "arrangement='striped' must be one of shifted, blocked": {"arrangement": "striped"},
    "in_channels=6 must be divisible by p=4; nearest p that divides in_channels=6 and out_channels=12: 3 or 6": {
        "in_channels": 6,
        "out_channels": 12,
    },
    "out_channels=6 must be divisible by p=4; nearest p that divides in_channels=8 and out_channels=6: 2": {
        "out_channels": 6
    },
    "in_channels=8 must be divisible by p=16; nearest p that divides in_channels=8 and out_channels=8: 8": {"p": 16},
}


@pytest.mark.parametrize("message", WRONG)
def test_errors(message):
    with pytest.raises(UsageError) as caught:
        HetPattern(**{"in_channels": 8, "out_channels": 8, **WRONG[message]})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda pattern: pattern.spatial_channels(12), "filter_index=12 must be from 0 to 11"),
        (lambda pattern: pattern.pointwise_channels(-1), "filter_index=-1 must be from 0 to 11"),
        (lambda pattern: pattern.part_of_channel(8), "channel=8 must be from 0 to 7"),
        (lambda pattern: pattern.channels_of_part(4), "part=4 must be from 0 to 3"),
    ],
)
def test_errors_of_indices(ask, message):
    for arrangement in ("shifted", "blocked"):
        with pytest.raises(UsageError) as caught:
            ask(HetPattern(8, 12, 3, 4, arrangement))
        assert str(caught.value) == message
