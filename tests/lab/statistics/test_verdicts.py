from dataclasses import replace

import pytest

from hetconv.lab.results import Claim, Epoch, Results, Run, StudyResults, StudySettings, VariantCost
from hetconv.lab.statistics import Verdict, verdicts
from hetconv.records import Circumstances, Complexity, Latency

AT = Circumstances("2026-01-01", "cpu", 1, 1, "cpu", "float32", "channels_last", 1, {})


def study(
    dense: list[float], het: list[float], claim: Claim, seconds: float = 1.0, times: tuple[float, float] = (2.0, 1.0),
    test_images: int = 10_000,
) -> StudyResults:  # fmt: skip
    settings = StudySettings(
        "vgg × 0.5", "d", 10, (3, 32, 32), 1, test_images, ("dense", "het"), tuple(range(len(dense))), {}
    )
    runs = [Run("dense", i, "done", (Epoch(1, 0.1, 1, 1, a / 100, 1 + 0.01 * i),)) for i, a in enumerate(dense)]
    runs += [Run("het", i, "done", (Epoch(1, 0.1, 1, 1, a / 100, seconds),)) for i, a in enumerate(het)]
    costs = [
        VariantCost(name, Complexity(1, 1, 1, 0), Latency(time, 0.9 * time, 1.1 * time, 9), 1.0)
        for name, time in zip(("dense", "het"), times, strict=True)
    ]
    return StudyResults("s", "", (Results(settings, AT, tuple(runs), tuple(costs)),), (claim,))


def the(found: tuple[Verdict, ...]) -> Verdict:
    (verdict,) = found
    return verdict


KEPT = Claim("kept", "", "het", "kept", margin=0.5)
ABOVE = Claim("above", "", "het", "above")


@pytest.mark.parametrize(
    ("claim", "het", "state"),
    [
        (KEPT, [93.0, 94.1, 92.0], "holds"),
        (KEPT, [91.0, 92.1, 90.0], "does not hold"),
        (KEPT, [92.0, 94.2, 91.5], "undecided"),
        (ABOVE, [93.9, 95.0, 92.9], "holds"),
        (ABOVE, [92.5, 93.6, 91.5], "does not hold"),
        (ABOVE, [93.0, 94.2, 91.9], "undecided"),
    ],
)
def test_accuracy(claim: Claim, het: list[float], state: str) -> None:
    assert the(verdicts(study([93.0, 94.1, 92.0], het, claim))).state == state


def test_differences_are_paired_by_seed() -> None:
    """Seeds differ by 10 points and the variants by exactly 1: only a paired difference sees it."""
    found = the(verdicts(study([70.0, 80.0, 90.0], [71.0, 81.0, 91.0], ABOVE)))
    assert found.state == "holds"
    assert found.difference == pytest.approx(1.0, abs=1e-9)


def test_undecided_says_how_many_seeds_would_do() -> None:
    found = the(verdicts(study([93.0, 93.0, 93.0], [93.0, 93.4, 93.2], ABOVE)))
    assert found.state == "undecided"
    assert found.text == f"undecided: needs about {found.more_seeds} more seeds"
    assert found.more_seeds == 4


def test_one_seed_decides_nothing() -> None:
    found = the(verdicts(study([90.0], [99.0], ABOVE)))
    assert (found.state, found.more_seeds, found.pairs) == ("undecided", 2, 1)
    assert "from one seed" in found.words


def test_equal_accuracies_on_few_images_decide_nothing() -> None:
    """Two runs with the same number of right answers of 100: one image is a whole point."""
    assert the(verdicts(study([90.0, 90.0], [90.0, 90.0], KEPT, test_images=100))).state == "undecided"


def test_a_failed_run_is_not_swept_away() -> None:
    done = study([93.0, 94.0, 92.0], [93.0, 94.0, 92.0], KEPT)
    results = done.networks[0]
    failed = replace(results, runs=(*results.runs, Run("het", 9, "failed", (), "the loss became nan")))
    assert "1 run failed and is left out" in the(verdicts(replace(done, networks=(failed,)))).words


@pytest.mark.parametrize(("seconds", "state"), [(0.5, "holds"), (2.0, "does not hold"), (1.01, "undecided")])
def test_cheaper(seconds: float, state: str) -> None:
    claim = Claim("cheaper", "", "het", "cheaper")
    assert the(verdicts(study([90.0] * 3, [90.0] * 3, claim, seconds))).state == state


@pytest.mark.parametrize(
    ("times", "state"), [((2.0, 1.0), "holds"), ((1.0, 2.0), "does not hold"), ((1.0, 0.95), "undecided")]
)
def test_faster(times: tuple[float, float], state: str) -> None:
    claim = Claim("faster", "", "het", "faster")
    assert the(verdicts(study([90.0], [90.0], claim, times=times))).state == state


def test_nothing_finished_is_undecided() -> None:
    found = the(verdicts(replace(study([], [], KEPT), claims=(KEPT,))))
    assert (found.state, found.words) == ("undecided", "no seed has finished runs of both")


def test_a_claim_may_be_of_one_network() -> None:
    done = study([93.0], [93.0], KEPT)
    assert verdicts(replace(done, claims=(replace(KEPT, network="resnet"),))) == ()
    assert len(verdicts(replace(done, claims=(replace(KEPT, network="vgg"),)))) == 1
