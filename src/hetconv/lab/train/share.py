"""What one of many processes takes of a batch, or of a line of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler


@dataclass(frozen=True)
class Share:
    """The part of process `index` of `of`; by default everything."""

    index: int = 0
    of: int = 1

    def span(self, length: int) -> tuple[int, int]:
        """Where this part of a line of so many begins and ends. All parts together are the line, each item once; they
        are equally long where `of` divides `length`."""
        return self.index * length // self.of, (self.index + 1) * length // self.of


class BatchShares(Sampler[list[int]]):
    """One process's part of each of the batches that all processes draw alike."""

    def __init__(self, batches: Sampler[list[int]], share: Share) -> None:
        self.batches, self.share = batches, share

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            begin, end = self.share.span(len(batch))
            yield batch[begin:end]
