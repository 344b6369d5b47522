"""Least squares for a HetConv layer: normal equations, one system a part, summed over batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hetconv.pattern import HetPattern


class NormalEquations:
    """Sums of products over pixels.

    The filters of a part have the same unknowns, in this order: K²·M/P taps on the part's own channels (tap by tap),
    M − M/P centre taps on the others, and a constant. Products of centre taps are the same for all parts and are
    summed once. With S = K²·M/P the memory is about P·S·(S + M) + M² numbers, whatever the number of pixels.
    """

    def __init__(self, pattern: HetPattern, device: torch.device, dtype: torch.dtype = torch.float64) -> None:
        self.pattern, self.pixels, self._dtype = pattern, 0, dtype
        p, m, n = pattern.p, pattern.in_channels, pattern.out_channels
        spatial = pattern.taps * pattern.spatial_per_filter
        self._own_index = _index([pattern.channels_of_part(part) for part in range(p)], device)
        self._outside_index = _index([pattern.channels_outside_part(part) for part in range(p)], device)
        self._filter_index = filters_of_parts(pattern, device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._own_own, self._own_centre = zeros(p, spatial, spatial), zeros(p, spatial, m + 1)
        self._centre_centre = zeros(m + 1, m + 1)
        self._own_target, self._centre_target, self._squares = zeros(p, spatial, n // p), zeros(m + 1, n), zeros(n)

    def add(self, patches: Tensor, targets: Tensor) -> None:
        """Add pixels: patches (n, K², M) and the wanted outputs (n, N)."""
        patches, targets = patches.to(self._dtype), targets.to(self._dtype)
        count, taps, _ = patches.shape
        centre = torch.cat([patches[:, taps // 2], patches.new_ones(count, 1)], 1)
        own = patches[:, :, self._own_index].permute(2, 0, 1, 3).flatten(2)  # P, n, K²·M/P
        wanted = targets[:, self._filter_index].permute(1, 0, 2)
        transposed = own.mT
        self._own_own += transposed @ own
        self._own_centre += transposed @ centre
        self._own_target += transposed @ wanted
        self._centre_centre += centre.T @ centre
        self._centre_target += centre.T @ targets
        self._squares += targets.square().sum(0)
        self.pixels += count

    def system(self) -> System:
        """The sums so far as one system a part."""
        constant = self.pattern.in_channels
        end = torch.full((self.pattern.p, 1), constant, device=self._outside_index.device)
        outside = torch.cat([self._outside_index, end], 1)  # P, M − M/P + 1
        mixed = self._own_centre.gather(2, outside[:, None].expand(-1, self._own_centre.shape[1], -1))
        centre = self._centre_centre[outside[:, :, None], outside[:, None, :]]
        gram = torch.cat([torch.cat([self._own_own, mixed], 2), torch.cat([mixed.mT, centre], 2)], 1)
        wanted = self._centre_target[outside[:, :, None], self._filter_index[:, None, :]]
        cross = torch.cat([self._own_target, wanted], 1)
        sums = self._centre_target[constant][self._filter_index]
        return System(gram, cross, self._squares[self._filter_index], sums, self.pixels)


@dataclass(frozen=True, eq=False)
class System:
    """Normal equations of all parts.

    Attributes:
        gram: (P, F, F), F unknowns of a filter, the constant last
        cross: (P, F, N/P)
        squares, sums: of the targets, (P, N/P)
    """

    gram: Tensor
    cross: Tensor
    squares: Tensor
    sums: Tensor
    pixels: int

    @property
    def unknowns(self) -> int:
        return self.gram.shape[1]

    @property
    def is_finite(self) -> bool:
        return bool(self.gram.isfinite().all() and self.cross.isfinite().all())

    def without_constant(self) -> System:
        return System(self.gram[:, :-1, :-1], self.cross[:, :-1], self.squares, self.sums, self.pixels)

    def residual(self, kernels: Tensor) -> float:
        """The share of the targets' variance that kernels (P, F, N/P) leave unexplained."""
        errors = (kernels * (self.gram @ kernels - 2 * self.cross)).sum(1) + self.squares
        variance = self.squares - self.sums.square() / self.pixels
        return max(float(errors.sum()), 0.0) / max(float(variance.sum()), torch.finfo(torch.float64).tiny)

    def solve(self, starts: Sequence[Tensor], ridge: float) -> list[Tensor]:
        """The kernels (P, F, N/P) of least squares, held near each start by `ridge` times each unknown's own power.

        Returns:
            One solution a start; none where the system is singular.
        """
        scale = self._scale[:, :, None]
        scaled = self.gram / scale / scale.mT
        diagonal = scaled.diagonal(dim1=1, dim2=2)
        diagonal += ridge + (diagonal == 0)  # an input that is always zero keeps its weight
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if failed.any():
            return []
        errors = torch.cat([self.cross - self.gram @ start for start in starts], 2)
        changes = torch.cholesky_solve(errors / scale, factor) / scale
        return [start + change for start, change in zip(starts, changes.chunk(len(starts), 2), strict=True)]

    @cached_property
    def _scale(self) -> Tensor:
        power = self.gram.diagonal(dim1=1, dim2=2)
        return torch.where(power > 0, power, 1.0).sqrt()


def filters_of_parts(pattern: HetPattern, device: torch.device) -> Tensor:
    """(P, N/P) indices."""
    parts: list[list[int]] = [[] for _ in range(pattern.p)]
    for number in range(pattern.out_channels):
        parts[pattern.part_of_filter(number)].append(number)
    return torch.tensor(parts, device=device)


def kernels_of(pattern: HetPattern, spatial: Tensor, pointwise: Tensor, bias: Tensor | None) -> Tensor:
    """A layer's weights as the kernels (P, F, N/P) of a system, in float64; the constant is 0 without a bias."""
    flat = spatial.flatten(2).transpose(1, 2).flatten(1)  # tap by tap
    constant = spatial.new_zeros(pattern.out_channels) if bias is None else bias
    rows = torch.cat([flat, pointwise, constant[:, None]], 1).double()
    return rows[filters_of_parts(pattern, spatial.device)].mT.contiguous()


def weights_of(pattern: HetPattern, kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `kernels_of`: (N, M/P, K, K), (N, M − M/P) and the constants (N), in float64."""
    filters = filters_of_parts(pattern, kernels.device).flatten()
    rows = kernels.new_empty(pattern.out_channels, kernels.shape[1])
    rows[filters] = kernels.mT.flatten(0, 1)
    taps, own = pattern.taps, pattern.spatial_per_filter
    spatial = rows[:, : taps * own].unflatten(1, (taps, own)).transpose(1, 2)
    return spatial.reshape(pattern.spatial_shape), rows[:, taps * own : -1], rows[:, -1]


def _index(channels: list[tuple[int, ...]], device: torch.device) -> Tensor:
    return torch.tensor(channels, dtype=torch.long, device=device).reshape(len(channels), -1)
