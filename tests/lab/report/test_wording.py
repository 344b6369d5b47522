from dataclasses import replace

import pytest

from hetconv.lab.report.summary import summarize
from hetconv.lab.report.wording import Note, absent, advice, further, headline, notes, times_as_fast
from hetconv.lab.results import Results

from .example import example, run


def test_the_first_hetconv_variant_is_set_against_dense() -> None:
    results = example(variants=("dense", "dwc-pwc", "het-p4"))
    row = next(row for row in summarize(results) if row.variant == "het-p4")
    assert row.accuracy is not None
    text = headline(results)
    assert text.startswith("het-p4 is 1.9× as fast as dense, 3.0× by count; accuracy ")
    assert f"{100 * row.accuracy:.1f} ± " in text
    assert text.endswith("2 seeds.")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.9, "1.9× as fast as dense"), (0.5, "slower than dense (0.50×)"), (1.01, "about as fast as dense (1.01×)")],
)
def test_speed_in_words(ratio: float, words: str) -> None:
    assert times_as_fast(ratio, "dense") == words


@pytest.mark.parametrize(
    ("accuracy", "speedup", "words"),
    [
        (0.980, 2.0, "Worth it: 50% less time, and the accuracy is kept."),
        (0.981, 4.0, "Worth it: 75% less time, and the accuracy is kept."),
        (0.969, 2.0, "Worth it if 50% less time is worth 1.1 points of accuracy to you."),
        (0.950, 1.25, "At a price: 20% less time costs 3.0 points of accuracy; a smaller P or more training"),
        (0.905, 2.0, "Not worth it as it is: 7.5 points of accuracy are lost; train longer"),
        (0.990, 1.02, "Not worth it here: het-p4 is not faster."),
        (0.990, 0.50, "Not worth it here: het-p4 is not faster."),
        (None, 2.0, ""),
        (0.980, None, ""),
    ],
)
def test_advice_follows_the_numbers(accuracy: float | None, speedup: float | None, words: str) -> None:
    dense, row = (next(row for row in summarize(example()) if row.variant == name) for name in ("dense", "het-p4"))
    found = advice(replace(row, accuracy=accuracy, speedup_measured=speedup), replace(dense, accuracy=0.98))
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_nothing_finished_yet() -> None:
    results = replace(example(), runs=(), costs=())
    assert headline(results) == "Nothing is finished yet: 0 of 10 runs are done, and no cost has been measured."
    assert further(results) == ""


def test_without_dense() -> None:
    text = headline(example(variants=("het-p4", "het-p8")))
    assert "no measured speed-up, because dense is not in this study (3.0× by count)" in text
    assert "that of dense is not known" in text


def test_only_dense() -> None:
    assert headline(example(variants=("dense",))) == "Only dense was studied: there is nothing to compare it with."


def test_without_times() -> None:
    text = headline(replace(example(), costs=()))
    assert text.startswith("het-p4: no measured speed-up, because the time of het-p4 was not measured; accuracy 98.")


def test_without_a_finished_run() -> None:
    text = headline(replace(example(), runs=()))
    assert text.endswith("no run of het-p4 is finished, so its accuracy is not known.")


@pytest.mark.parametrize(("seeds", "words"), [((0,), "One seed is too few"), ((0, 1), "Two seeds are too few")])
def test_few_seeds_are_said_to_be_few(seeds: tuple[int, ...], words: str) -> None:
    assert words in further(example(seeds=seeds))


def test_five_seeds_are_not_said_to_be_few() -> None:
    assert "too few" not in further(example(seeds=(0, 1, 2, 3, 4)))


def test_notes_list_what_is_missing() -> None:
    results = example(variants=("dense", "het-p4"), seeds=(0, 1, 2))
    complexity = replace(results.costs[0].complexity, uncounted=("aten::roll",))
    spoilt = replace(
        results,
        runs=(
            run("dense", 0, state="running", epochs=3),
            run("dense", 2),
            replace(run("het-p4", 0, state="failed", epochs=1), error="the loss became NaN"),
        ),
        costs=(replace(results.costs[0], complexity=complexity),),
    )
    assert found(spoilt) == {
        "Failed runs": ("het-p4, seed 0, after 1 epoch: the loss became NaN",),
        "Unfinished runs": (
            "dense, seed 0: stopped or running after 3 epochs",
            "dense, seed 1: not started",
            "het-p4, seeds 1, 2: not started",
        ),
        "Operations not counted in MACs": ("dense: aten::roll",),
        "Variants not deployed, so measured in eager PyTorch": (),
        "Variants not measured": ("het-p4: no cost and no time",),
    }


def test_empty_notes_are_there() -> None:
    assert set(found(example()).values()) == {()}


def test_empty_lists_are_one_sentence() -> None:
    assert absent((Note("Failed runs", ()), Note("A", ("b",)), Note("Unfinished runs", ()))) == (
        "None: failed runs; unfinished runs."
    )
    assert absent((Note("A", ("b",)),)) == ""


def found(results: Results) -> dict[str, tuple[str, ...]]:
    return {note.title: note.items for note in notes(results)}
