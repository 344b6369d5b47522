"""Which filter of a HetConv layer has K×K kernels on which input channels.

This is the only definition of the layer's structure; everything else asks a `HetPattern`. It knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt
from typing import Literal, get_args

from hetconv.errors import UsageError

Arrangement = Literal["shifted", "blocked"]
ARRANGEMENTS: tuple[str, ...] = get_args(Arrangement)
USUAL_PARTS = (1, 2, 4, 8, 16, 32)
"""The values of P that are tried where none are given."""
MOST = 2**31 - 1
"""Of every integer of a layer, which kernels compute with; products of two of them fit into 64 bits."""


@dataclass(frozen=True)
class HetPattern:
    """The structure of one HetConv layer (Singh et al., CVPR 2019, section 3 and figure 3).

    Filters and channels are split into `p` parts. A filter has K×K kernels on the M/P channels of its own part and
    1×1 kernels on the other M − M/P.

    - `shifted` (the paper's): channel c is in part c mod P, filter n in part n mod P.
    - `blocked` (what a grouped convolution computes): parts are contiguous runs of channels and of filters.

    Args:
        in_channels: M, a multiple of p.
        out_channels: N, a multiple of p.
        kernel_size: odd K, or (K_height, K_width).
        p: number of parts; 1 is the standard convolution, `in_channels` leaves one K×K kernel a filter.

    Raises:
        UsageError: a size is not from 1 to 2³¹ − 1, a kernel size is even, or p does not divide both channel counts.
    """

    in_channels: int
    out_channels: int
    kernel_size: int | tuple[int, int] = 3
    p: int = 4
    arrangement: Arrangement = "shifted"

    def __post_init__(self) -> None:
        size = self.kernel_size
        both = tuple(size) if isinstance(size, tuple | list) else (size, size)
        object.__setattr__(self, "kernel_size", both)
        if len(self.kernel_hw) != 2:
            raise UsageError(f"kernel_size={size} must be one number or two (height, width)")
        for name in ("in_channels", "out_channels", "p"):
            _check_positive_integer(name, getattr(self, name))
        for k in self.kernel_hw:
            _check_positive_integer("kernel_size", k)
            if k % 2 == 0:
                raise UsageError(f"kernel_size={k} must be odd, to have a centre tap; nearest: {k - 1} or {k + 1}")
        if self.arrangement not in ARRANGEMENTS:
            raise UsageError(f"arrangement={self.arrangement!r} must be one of {', '.join(ARRANGEMENTS)}")
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.p:
                valid = nearest_valid_p(self.in_channels, self.out_channels, self.p)
                raise UsageError(
                    f"{name}={getattr(self, name)} must be divisible by p={self.p}; nearest p that divides "
                    f"in_channels={self.in_channels} and out_channels={self.out_channels}: "
                    f"{' or '.join(map(str, valid))}"
                )

    @property
    def kernel_hw(self) -> tuple[int, int]:
        """(height, width) of the K×K kernels."""
        return self.kernel_size  # type: ignore[return-value]

    @property
    def taps(self) -> int:
        """K², the taps of one spatial kernel."""
        return self.kernel_hw[0] * self.kernel_hw[1]

    @property
    def spatial_per_filter(self) -> int:
        """M/P, the K×K kernels of one filter."""
        return self.in_channels // self.p

    @property
    def pointwise_per_filter(self) -> int:
        """M − M/P, the 1×1 kernels of one filter."""
        return self.in_channels - self.spatial_per_filter

    @property
    def spatial_shape(self) -> tuple[int, int, int, int]:
        """Shape of the K×K weights: (N, M/P, K, K)."""
        return (self.out_channels, self.spatial_per_filter, *self.kernel_hw)

    @property
    def pointwise_shape(self) -> tuple[int, int]:
        """Shape of the 1×1 weights: (N, M − M/P)."""
        return (self.out_channels, self.pointwise_per_filter)

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted: N·(K²·M/P + M − M/P)."""
        return self.out_channels * (self.taps * self.spatial_per_filter + self.pointwise_per_filter)

    @property
    def macs_per_position(self) -> int:
        """Multiply-adds for one output position: each weight is used once."""
        return self.weights

    def part_of_channel(self, channel: int) -> int:
        _check_index("channel", channel, self.in_channels)
        return channel % self.p if self.arrangement == "shifted" else channel // (self.in_channels // self.p)

    def part_of_filter(self, filter_index: int) -> int:
        _check_index("filter_index", filter_index, self.out_channels)
        return filter_index % self.p if self.arrangement == "shifted" else filter_index // (self.out_channels // self.p)

    def channels_of_part(self, part: int) -> tuple[int, ...]:
        """The M/P input channels of a part, increasing."""
        _check_index("part", part, self.p)
        if self.arrangement == "shifted":
            return tuple(range(part, self.in_channels, self.p))
        return tuple(range(part * self.spatial_per_filter, (part + 1) * self.spatial_per_filter))

    def channels_outside_part(self, part: int) -> tuple[int, ...]:
        """The M − M/P input channels of all other parts, increasing."""
        inside = set(self.channels_of_part(part))
        return tuple(c for c in range(self.in_channels) if c not in inside)

    def spatial_channels(self, filter_index: int) -> tuple[int, ...]:
        """The channels on which a filter has K×K kernels, in the order of its weights."""
        return self.channels_of_part(self.part_of_filter(filter_index))

    def pointwise_channels(self, filter_index: int) -> tuple[int, ...]:
        """The channels on which a filter has 1×1 kernels, in the order of its weights."""
        return self.channels_outside_part(self.part_of_filter(filter_index))

    def rearranged(self, arrangement: Arrangement) -> HetPattern:
        """The same layer in the other arrangement."""
        return HetPattern(self.in_channels, self.out_channels, self.kernel_hw, self.p, arrangement)


def shifted_to_blocked(channels: int, p: int) -> tuple[int, ...]:
    """The permutation that takes a shifted layer's channels (or filters) to the blocked arrangement.

    Blocked channel b is shifted channel `shifted_to_blocked(channels, p)[b]`: `x_blocked = x_shifted[:, permutation]`.
    """
    return tuple(part + p * j for part in range(p) for j in range(channels // p))


def blocked_to_shifted(channels: int, p: int) -> tuple[int, ...]:
    """The inverse of `shifted_to_blocked`: `x_shifted = x_blocked[:, permutation]`."""
    return shifted_to_blocked(channels, channels // p)


def valid_parts(in_channels: int, out_channels: int) -> tuple[int, ...]:
    """Every P that divides both channel counts, increasing."""
    common = gcd(in_channels, out_channels)
    small = [p for p in range(1, isqrt(common) + 1) if common % p == 0]
    return tuple(sorted({*small, *(common // p for p in small)}))


def largest_valid_p(in_channels: int, out_channels: int, p: int) -> int:
    """The largest P up to `p` that divides both channel counts."""
    return max(valid for valid in valid_parts(in_channels, out_channels) if valid <= p)


def nearest_valid_p(in_channels: int, out_channels: int, p: int) -> tuple[int, ...]:
    """The valid P just below and just above `p`, where there are such."""
    valid = valid_parts(in_channels, out_channels)
    return (max(v for v in valid if v <= p), *[v for v in valid if v > p][:1])


def _check_positive_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}={value!r} must be a positive integer")
    if value > MOST:
        raise UsageError(f"{name}={value} must be at most {MOST}")


def _check_index(name: str, index: int, end: int) -> None:
    if not 0 <= index < end:
        raise UsageError(f"{name}={index} must be from 0 to {end - 1}")
