"""Whether what is claimed of a variant holds in a study's runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Literal

from hetconv.lab.results import Claim, Results, StudyResults
from hetconv.lab.statistics.intervals import MOST_SEEDS, Spread, seeds_needed, spread
from hetconv.lab.statistics.runs import one_image, paired_accuracy, paired_cost
from hetconv.lab.statistics.signed import signed
from hetconv.records import Latency

State = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim on one network.

    `words` says it with its figures. `difference`, `low` and `high` are points of accuracy, or a ratio of times.
    `more_seeds` is how many more seeds would decide it if the next ones scatter as those before; None where it is
    decided, where seeds do not decide it, or where no bearable number would.
    """

    claim: Claim
    network: str
    state: State
    words: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    more_seeds: int | None = None

    @property
    def text(self) -> str:
        """holds, does not hold, or undecided and what it needs."""
        if self.state != "undecided" or self.more_seeds is None:
            return self.state
        return f"undecided: needs about {self.more_seeds} more seed{'' if self.more_seeds == 1 else 's'}"


def verdicts(study: StudyResults) -> tuple[Verdict, ...]:
    """One verdict for every claim and every network that it is about, in the order of the claims."""
    return tuple(
        _verdict(claim, results)
        for claim in study.claims
        for results in study.networks
        if claim.network is None or claim.network == results.settings.network.split(" × ")[0]
    )


def _verdict(claim: Claim, results: Results) -> Verdict:
    if claim.relation == "faster":
        return _faster(claim, results)
    if claim.relation == "cheaper":
        return _cheaper(claim, results)
    return _accurate(claim, results)


def _accurate(claim: Claim, results: Results) -> Verdict:
    """Kept: the difference is above minus the margin; above: it is above the margin."""
    network = results.settings.network
    bound = -claim.margin if claim.relation == "kept" else claim.margin
    least = one_image(results)
    found = spread(paired_accuracy(results, claim.variant, claim.against), least_sd=least)
    if found is None:
        return Verdict(claim, network, "undecided", f"no seed has finished runs of both{_failed(claim, results)}")
    words = f"{signed(found.mean)} points"
    if found.low is None or found.high is None or found.sd is None:
        words += f" from one seed, which says nothing of chance{_failed(claim, results)}"
        return Verdict(claim, network, "undecided", words, found.mean, pairs=1, more_seeds=2)
    words += f", 95 % interval {signed(found.low)} to {signed(found.high)}, {found.count} pairs of runs"
    words += f"; the bound is {signed(bound)}"
    words += _failed(claim, results)
    state: State = "holds" if found.low > bound else "does not hold" if found.high < bound else "undecided"
    more = None
    if state == "undecided":
        needed = seeds_needed(found.mean - bound, max(found.sd, least), found.count + 1)
        more = None if needed is None else needed - found.count
        if more is None:
            words += f"; too near the bound for {MOST_SEEDS} seeds to tell"
    return Verdict(claim, network, state, words, found.mean, found.low, found.high, found.count, more)


def _cheaper(claim: Claim, results: Results) -> Verdict:
    network = results.settings.network
    found = spread(paired_cost(results, claim.variant, claim.against))
    if found is None:
        return Verdict(claim, network, "undecided", f"no seed has finished runs of both{_failed(claim, results)}")
    words = f"{exp(found.mean):.2f} of the time"
    if found.low is None or found.high is None or found.sd is None:
        words += " from one seed, which says nothing of chance"
        return Verdict(claim, network, "undecided", words, exp(found.mean), pairs=1, more_seeds=2)
    low, high = exp(found.low), exp(found.high)
    words += f", 95 % interval {low:.2f} to {high:.2f}, {found.count} pairs of runs{_failed(claim, results)}"
    state: State = "holds" if high < 1 else "does not hold" if low > 1 else "undecided"
    more = _more(found) if state == "undecided" else None
    return Verdict(claim, network, state, words, exp(found.mean), low, high, found.count, more)


def _more(found: Spread) -> int | None:
    needed = None if found.sd is None else seeds_needed(found.mean, found.sd, found.count + 1)
    return None if needed is None else needed - found.count


def _faster(claim: Claim, results: Results) -> Verdict:
    """Decided where the middle parts of both times (20th to 80th percentile) do not touch."""
    network = results.settings.network
    ours, theirs = _latency(results, claim.variant), _latency(results, claim.against)
    if ours is None or theirs is None:
        return Verdict(claim, network, "undecided", "not measured")
    ratio = ours.median_ms / theirs.median_ms
    low, high = ours.p20_ms / theirs.p80_ms, ours.p80_ms / theirs.p20_ms
    words = f"{ours.median_ms:.2f} ms against {theirs.median_ms:.2f} ms, {ratio:.2f} of the time"
    state: State = "holds" if high < 1 else "does not hold" if low > 1 else "undecided"
    if state == "undecided":
        words += "; their middle parts overlap, which needs a quieter machine or a larger batch"
    return Verdict(claim, network, state, words, ratio, low, high)


def _latency(results: Results, variant: str) -> Latency | None:
    found = next((cost.latency for cost in results.costs if cost.variant == variant), None)
    return None if found is None or found.samples < 1 or not found.median_ms > 0 else found


def _failed(claim: Claim, results: Results) -> str:
    """Runs that are missing because they failed: leaving them out flatters a variant that diverges."""
    count = sum(run.state == "failed" and run.variant in (claim.variant, claim.against) for run in results.runs)
    return (
        ""
        if not count
        else f"; {count} run{'' if count == 1 else 's'} failed and {'is' if count == 1 else 'are'} left out"
    )
