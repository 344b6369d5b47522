"""The sensitivity of a named network, trained or read; whose images it is of."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hetconv.cli import run
from hetconv.errors import UsageError
from hetconv.lab.models import create_model
from hetconv.lab.results import SensitivityResults
from hetconv.lab.settings import Probing, Recipe
from hetconv.lab.study.probing import probe
from hetconv.lab.variant import parse_variant
from hetconv.records import load_record

SMALL = Probing(
    recipe=Recipe(epochs=1, batch_size=32), parts=(4,), shares=(0.5,),
    layers=("stages.6.conv1",), width=0.25, train_limit=64, validation_images=40,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensitivity")
    probe(SMALL, folder)
    return folder


def test_the_record_says_what_was_found_of_what(trained: Path) -> None:
    found = load_record(SensitivityResults, trained / "sensitivity.json")
    assert (found.network, found.variant, found.training, found.seen) == (
        "resnet20_cifar × 0.25", "dense", "1 epochs on 64 images", False,
    )  # fmt: skip
    assert found.sensitivity.images == 40
    assert [probe.kind for probe in found.sensitivity.probes] == ["p", "share"]


def test_a_second_run_trains_no_more_and_a_checkpoint_gives_the_same(trained: Path, tmp_path: Path) -> None:
    first = load_record(SensitivityResults, trained / "sensitivity.json")
    assert probe(SMALL, trained).sensitivity == first.sensitivity
    weights = trained / "checkpoint.safetensors"
    read = probe(replace(SMALL, weights=weights), tmp_path)
    assert read.sensitivity == first.sensitivity
    assert (read.training, read.seen) == ("checkpoint.safetensors, 1 epochs on 64 images", False)


def test_images_that_were_trained_on_are_said_to_be(trained: Path, tmp_path: Path) -> None:
    """Of 1,437 images the first 64 of the shuffle were trained on; with 1,400 held out only 37 come before those."""
    weights = trained / "checkpoint.safetensors"
    seen = probe(replace(SMALL, weights=weights, train_limit=None, validation_images=1400, parts=()), tmp_path)
    assert seen.seen is True
    plain = tmp_path / "plain.safetensors"
    save_file(create_model("resnet20_cifar", width=0.25).state_dict(), plain)
    assert probe(replace(SMALL, weights=plain, parts=()), tmp_path).seen is None


def test_what_cannot_be_tried_is_found_out_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="p=64 cannot be tried"):
        probe(replace(SMALL, parts=(64,)), tmp_path)
    with pytest.raises(UsageError, match=r"variant='dense-int8' is compressed after training; give 'dense'"):
        probe(replace(SMALL, variant=parse_variant("dense-int8")), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--width", "0.25", "--weights", str(trained / "checkpoint.safetensors"), "--validation-images", "40"]
    chosen = ["--p", "4,8", "--shares", "none", "--layers", "stages.6.conv1"]
    assert run(["sensitivity", "resnet20_cifar", "--out", str(tmp_path), *options, *chosen]) == 0
    printed = capsys.readouterr().out
    assert "stages.6.conv1" in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sensitivity-p.png", "sensitivity.json"]


@pytest.mark.parametrize(("options", "message"), [
    (["--layers", "stages.60.conv1"], "layers: 'stages.60.conv1' is no convolution of this network; nearest: stages.6"),
    (["--shares", "0.5,1"], "share=1 must be above 0 and below 1"),
    (["--shares", "half"], "--shares 'half' must be numbers separated by commas"),
    (["--p", "5"], "p=5 cannot be tried on"),
    (["--p", "1"], "p=1 must be at least 2"),
    (["--validation-images", "1437"], "validation_images=1437 must be between 1 and 1436"),
    (["--train-limit", "1400"], "between 1 and the 1150 training images; 287 more are held out"),
    (["--weights", "/no/such"], "looked for the weights /no/such"),
    (["--variant", "het-p4", "--p", "4"], "p=4 cannot be tried on stem"),
])  # fmt: skip
def test_wrong_use_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sensitivity", "resnet20_cifar", "--out", "/tmp/unused", "--width", "0.25", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_digits_are_held_out_of_training() -> None:
    from hetconv.lab.train import load_data

    whole = load_data("digits")
    data = load_data("digits", validation_images=37)
    assert (data.train_images, data.test_images) == (1400, 37)
    rows = torch.cat([data.train.images, data.test.images]).flatten(1)  # type: ignore[attr-defined]
    assert sorted(map(bytes, rows.numpy())) == sorted(map(bytes, whole.train.images.flatten(1).numpy()))  # type: ignore
    assert data.test.augment == ()  # type: ignore[attr-defined]
    limited = load_data("digits", train_limit=100)
    assert torch.equal(limited.train.labels, data.train.labels[:100])  # type: ignore[attr-defined]
