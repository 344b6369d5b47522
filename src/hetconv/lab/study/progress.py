"""What a study tells while it runs."""

from __future__ import annotations

from hetconv.lab.train import Progress


class CompareProgress(Progress):
    """Of a comparison or a study; this one keeps silent."""

    def run(self, variant: str, seed: int, epochs_done: int, epochs: int) -> None:
        """A run begins, or goes on, or (epochs_done == epochs) was finished before."""

    def costing(self, variants: tuple[str, ...]) -> None:
        """Complexity and latency of these are about to be measured."""

    def waiting(self, running: int) -> None:
        """No run is left to begin; this process waits for the `running` ones of others, to take over if they die."""
