import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from hetconv.errors import HetconvError, UsageError
from hetconv.lab.results import Epoch, Results
from hetconv.lab.settings import Recipe, StageSettings
from hetconv.lab.study import CompareProgress, Store, compare
from hetconv.lab.variant import parse_variants

from .tiny import TINY

SMALL = replace(TINY, seeds=(0, 1), recipe=Recipe(epochs=2, batch_size=32), latency_samples=2)


class StoppedError(Exception):
    pass


class Watch(CompareProgress):
    """Notes what is trained, and can end the comparison as a kill would after so many epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.epochs: list[int] = []
        self.runs: list[tuple[str, int, int]] = []
        self.notices: list[str] = []

    def run(self, variant: str, seed: int, epochs_done: int, epochs: int) -> None:
        self.runs.append((variant, seed, epochs_done))

    def epoch(self, found: Epoch) -> None:
        self.epochs.append(found.epoch)
        if len(self.epochs) == self.stop_after:
            raise StoppedError

    def notice(self, text: str) -> None:
        self.notices.append(text)


def without_times(results: Results) -> list[object]:
    return [replace(run, epochs=tuple(replace(epoch, seconds=0) for epoch in run.epochs)) for run in results.runs]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("study")
    return compare(SMALL, folder), folder


def test_every_variant_is_trained_from_every_seed_and_costed(undisturbed: tuple[Results, Path]) -> None:
    results, folder = undisturbed
    assert [(run.variant, run.seed, run.state, len(run.epochs)) for run in results.runs] == [
        ("dense", 0, "done", 2), ("dense", 1, "done", 2), ("het-p4", 0, "done", 2), ("het-p4", 1, "done", 2)
    ]  # fmt: skip
    assert results.runs[0].epochs != results.runs[1].epochs
    dense, het = results.costs
    assert (dense.variant, dense.speedup_theory, het.variant) == ("dense", 1.0, "het-p4")
    assert het.speedup_theory == dense.complexity.macs / het.complexity.macs
    assert all(layer.latency_ms is not None and layer.latency_ms > 0 for layer in het.complexity.layers)
    assert results.settings.network == TINY.network
    assert Store(folder).load_results() == results


def test_run_again_it_trains_nothing(undisturbed: tuple[Results, Path]) -> None:
    results, folder = undisturbed
    watch = Watch()
    assert compare(SMALL, folder, watch) == results
    assert watch.epochs == []
    assert watch.runs == [("dense", 0, 2), ("het-p4", 0, 2), ("dense", 1, 2), ("het-p4", 1, 2)]


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_anywhere_it_goes_on_to_the_same_results(
    undisturbed: tuple[Results, Path], tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(StoppedError):
        compare(SMALL, tmp_path, Watch(stop_after))
    watch = Watch()
    results = compare(SMALL, tmp_path, watch)
    assert len(watch.epochs) == 8 - stop_after
    assert without_times(results) == without_times(undisturbed[0])


def test_variants_and_seeds_may_be_added(undisturbed: tuple[Results, Path], tmp_path: Path) -> None:
    first = replace(SMALL, variants=parse_variants("dense"), seeds=(0,))
    compare(first, tmp_path)
    watch = Watch()
    results = compare(SMALL, tmp_path, watch)
    assert len(watch.epochs) == 6
    assert without_times(results) == without_times(undisturbed[0])


def test_what_is_added_joins_what_is_there(undisturbed: tuple[Results, Path], tmp_path: Path) -> None:
    compare(replace(SMALL, variants=parse_variants("dense"), seeds=(0,)), tmp_path)
    results = compare(replace(SMALL, variants=parse_variants("het-p4"), seeds=(1,)), tmp_path)
    assert [(run.variant, run.seed) for run in results.runs] == [("dense", 0), ("het-p4", 1)]
    assert [cost.variant for cost in results.costs] == ["dense", "het-p4"]


@pytest.mark.parametrize("error", [HetconvError("cannot be deployed"), UsageError("deploy needs the native kernels")])
def test_a_network_that_cannot_be_deployed_is_timed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("hetconv.lab.study.costs.deploy", refused)
    one = replace(SMALL, variants=parse_variants("dense"), seeds=(0,), recipe=Recipe(epochs=1, batch_size=32))
    (cost,) = compare(one, tmp_path).costs
    assert cost.not_deployed == str(error)
    assert cost.eager is None
    assert cost.latency.median_ms > 0


def test_another_batch_is_measured_anew(undisturbed: tuple[Results, Path], tmp_path: Path) -> None:
    first = replace(SMALL, variants=parse_variants("dense"), seeds=(0,))
    compare(first, tmp_path)
    assert compare(replace(first, latency_batch=2), tmp_path).circumstances.batch_size == 2


def test_a_stopped_comparison_shows_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        compare(SMALL, tmp_path, Watch(3))
    results = Store(tmp_path).load_results()
    assert [(run.variant, run.state) for run in results.runs] == [("dense", "done")]
    assert len(results.costs) == 2


def test_another_recipe_in_the_same_folder_is_refused(undisturbed: tuple[Results, Path]) -> None:
    other = replace(SMALL, recipe=Recipe(epochs=3, batch_size=32))
    with pytest.raises(
        UsageError, match=r"holds another study: epochs was 2 and is now 3\. .* --out; there, --weights"
    ):
        compare(other, undisturbed[1])


def test_a_run_that_diverges_is_kept_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    wild = replace(SMALL, recipe=Recipe(epochs=1, batch_size=32, learning_rate=1e30, warmup_epochs=0), seeds=(0,))
    watch = Watch()
    results = compare(wild, tmp_path, watch)
    assert [run.state for run in results.runs] == ["failed", "failed"]
    assert "lower the learning rate" in str(results.runs[0].error)
    assert len(watch.notices) == 2
    assert len(results.costs) == 2


def test_a_folder_that_another_process_keeps_is_named(tmp_path: Path) -> None:
    with Store(tmp_path).locked(), pytest.raises(UsageError, match="in use by another hetconv"):  # noqa: SIM117
        with Store(tmp_path).locked(patience_s=0.1):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"variants": ()},
        {"variants": parse_variants("dense,dense")},
        {"seeds": ()},
        {"latency_batch": 0},
        {"seeds": (2**63,)},
        {"seeds": (-1,)},
    ],
)
def test_wrong_comparisons(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def segmenter(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, num_classes, 3))


def test_a_network_that_is_no_classifier_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_networks", sys.modules[__name__])
    wrong = replace(SMALL, network="my_networks:segmenter", width=1.0)
    with pytest.raises(UsageError, match=r"dense: the network gives \(1, 10, 28, 28\), not \(batch, 10\)"):
        compare(wrong, tmp_path / "out")
    with pytest.raises(UsageError, match="the model does not take this input"):
        compare(replace(SMALL, network="alexnet", width=1.0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_for_an_unknown_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown network"):
        compare(replace(SMALL, network="resnet51", width=1.0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


COMPRESSED = replace(
    SMALL,
    network="vgg16_cifar",
    width=0.125,
    variants=parse_variants("dense,l1-50"),
    seeds=(0,),
    stages=StageSettings(),
)


def test_compressed_variants_share_the_training_of_their_base(tmp_path: Path) -> None:
    """In whichever order they are named, the base is trained first, and once."""
    watch = Watch()
    backwards = replace(COMPRESSED, variants=parse_variants("l1-50,dense"))
    results = compare(backwards, tmp_path, watch)
    pruned, dense = results.runs
    assert watch.epochs == [1, 2, 1]
    assert pruned.epochs[:2] == dense.epochs
    assert pruned.compression is not None
    assert pruned.accuracy == pruned.compression.accuracy
    costs = {cost.variant: cost for cost in results.costs}
    assert costs["l1-50"].complexity.macs == pruned.compression.complexity.macs < costs["dense"].complexity.macs / 3
    assert compare(backwards, tmp_path) == results


def test_a_stopped_compression_goes_on(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        compare(COMPRESSED, tmp_path, Watch(3))
    assert len(Store(tmp_path).load_results().costs) == 1
    results = compare(COMPRESSED, tmp_path)
    assert [run.state for run in results.runs] == ["done", "done"]
    assert len(results.costs) == 2


def test_a_wrong_method_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="l1-100: share=1 must be above 0 and below 1"):
        compare(replace(COMPRESSED, variants=parse_variants("dense,l1-100")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
