"""What a study survives: cut files, a full disk, a folder that is not writable, another study in its folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hetconv.errors import HetconvError, UsageError
from hetconv.lab.settings import Comparison, Recipe, definition_of
from hetconv.lab.study import compare, study_folder
from hetconv.lab.variant import parse_variants

from .tiny import COMPRESSED, EPOCHS, TINY, Watch, begin_and_cut_off, files, outcome


def undisturbed(comparison: Any, folder: Path) -> Any:
    return outcome(compare(comparison, folder), folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return undisturbed(TINY, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first run has ended, the second was cut off after its second epoch of three."""
    folder = tmp_path_factory.mktemp("interrupted")
    begin_and_cut_off(TINY, folder, EPOCHS + 2)
    return folder


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted, tmp_path / "copy")
    return tmp_path / "copy"


def flip(path: Path) -> None:
    """Change one bit of a tensor."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(path: Path, keep: float) -> None:
    """Keep this share of a file; of 1, all but the last two bytes."""
    path.write_bytes(path.read_bytes()[: min(int(keep * path.stat().st_size), path.stat().st_size - 2)])


DERIVED = ("results.json",)
ENDED = ("runs/dense/seed-0/checkpoint.safetensors", "runs/dense/seed-0/checkpoint.previous.safetensors")
BEGUN = "runs/het-p4/seed-0/attempts/1"
RECORDS = ("study.json", "definition.json", "costs.json", "runs/dense/seed-0/run.json")
LAST, BEFORE, PROGRESS = (f"{BEGUN}/{name}" for name in (
    "checkpoint.safetensors", "checkpoint.previous.safetensors", "run.json",
))  # fmt: skip


def test_every_file_that_a_study_writes_is_cut_below(interrupted: Path) -> None:
    assert files(interrupted) == sorted((*DERIVED, *ENDED, *RECORDS, LAST, BEFORE, PROGRESS))


HALVES = [(name, 0.5) for name in (*RECORDS, *DERIVED, LAST, BEFORE, PROGRESS)]


@pytest.mark.parametrize(("name", "keep"), [*HALVES, (RECORDS[3], 0), (RECORDS[3], 1), (LAST, 0), (LAST, 1)])
def test_a_cut_file_is_named_and_the_study_ends_as_ever(copy: Path, trained: Any, name: str, keep: float) -> None:
    cut(copy / name, keep)
    watch = Watch()
    found = compare(TINY, copy, watch)
    assert watch.epochs == ([2, 3] if name == LAST else [3])
    if name in RECORDS:
        assert f"{copy / name} is damaged" in watch.said
        assert (copy / f"{name}.damaged").exists()
    if name == LAST:
        assert "checkpoint.safetensors is damaged" in watch.said
        assert "going on from the checkpoint before it" in watch.said
    assert outcome(found, copy) == trained


def test_all_files_cut_at_once_are_all_named(copy: Path, trained: Any) -> None:
    for name in files(copy):
        cut(copy / name, 0.5)
    watch = Watch()
    found = compare(TINY, copy, watch)
    for name in RECORDS:
        assert f"{copy / name} is damaged" in watch.said
    assert watch.said.count("checkpoint.safetensors is damaged") == 2
    assert watch.said.count("checkpoint.previous.safetensors is damaged") == 2
    assert watch.said.count("starting this run afresh") == 2
    assert watch.epochs == [1, 2, 3, 1, 2, 3]
    assert outcome(found, copy) == trained


def test_records_alone_are_a_study(trained: Any, tmp_path: Path) -> None:
    """As they are kept under version control: a fresh checkout goes on with the run that is not there yet."""
    whole, records = tmp_path / "whole", tmp_path / "records"
    compare(TINY, whole)
    for name in ("study.json", "runs/dense/seed-0/run.json"):
        (records / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / name, records / name)
    watch = Watch()
    found = compare(TINY, records, watch)
    assert watch.epochs == [1, 2, 3]
    assert [run.variant for run in found.runs] == ["dense", "het-p4"]
    assert outcome(found, records)[0] == trained[0]  # type: ignore[index]
    assert not (records / ENDED[0]).exists()


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: cut(path, 0.5), flip])
def test_a_finished_run_without_weights_is_trained_again_where_they_are_wanted(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    one = replace(TINY, variants=parse_variants("dense"))
    first = outcome(compare(one, tmp_path), tmp_path)
    spoil(tmp_path / ENDED[0])
    watch = Watch()
    compare(one, tmp_path, watch)
    assert watch.epochs == []
    assert outcome(compare(one, tmp_path, watch, weights=True), tmp_path) == first
    assert "dense seed 0: its weights are gone" in watch.said
    assert watch.epochs == ([3] if (tmp_path / ENDED[1]).exists() else [1, 2, 3])
    compare(one, tmp_path, watch := Watch(), weights=True)
    assert watch.said == ""


def test_a_compressed_run_whose_weights_are_gone_keeps_its_record(tmp_path: Path) -> None:
    """And its time is not measured anew."""
    found = compare(COMPRESSED, tmp_path)
    shutil.copytree(tmp_path, tmp_path / "copy")
    for path in [*(tmp_path / "copy").rglob("*.safetensors"), tmp_path / "copy" / "costs.json"]:
        path.unlink()
    watch = Watch()
    again = compare(COMPRESSED, tmp_path / "copy", watch)
    assert again.runs == found.runs
    assert [cost.variant for cost in again.costs] == ["dense"]
    assert "l1-50 seed 0: its weights are gone, so that its time cannot be measured" in watch.said
    assert watch.epochs == []


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A network being compressed, cut off after one of two epochs of retraining; and how it ends undisturbed."""
    folder = tmp_path_factory.mktemp("compressed")
    begin_and_cut_off(COMPRESSED, folder, EPOCHS + 1)
    return folder, undisturbed(COMPRESSED, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("keep", [0, 0.5])
def test_checkpoints_of_a_compression_are_made_anew(compressed: tuple[Path, Any], tmp_path: Path, keep: float) -> None:
    shutil.copytree(compressed[0], tmp_path / "copy")
    stages = [name for name in files(tmp_path / "copy") if name.startswith("runs/l1-50/") and "safetensors" in name]
    assert stages
    for name in (*stages, ENDED[0]):
        cut(tmp_path / "copy" / name, keep)
    watch = Watch()
    found = compare(COMPRESSED, tmp_path / "copy", watch)
    assert "base.safetensors is damaged" in watch.said
    (tmp_path / "copy" / ENDED[0]).unlink()  # its run has ended; nobody asks for its weights
    assert outcome(found, tmp_path / "copy")[0] == compressed[1][0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own; only the superuser can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only the superuser can mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filling"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return path


def test_a_full_disk_ends_in_one_line_and_loses_nothing(small_disk: Path, trained: Any) -> None:
    study = small_disk / "study"
    with pytest.raises(HetconvError, match="nothing is lost; make room, run again") as caught:
        compare(TINY, study, Watch(EPOCHS + 1, lambda: fill(small_disk) and None))
    assert "\n" not in str(caught.value)
    (small_disk / "filling").unlink()
    watch = Watch()
    found = compare(TINY, study, watch)
    assert watch.epochs == [2, 3]
    assert outcome(found, study) == trained


def test_a_disk_that_can_only_be_read_is_named(small_disk: Path, interrupted: Path, trained: Any) -> None:
    study = small_disk / "study"
    shutil.copytree(interrupted, study)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UsageError, match=r"cannot write to .*study: Read-only file system; give another folder"):
        compare(TINY, study)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert outcome(compare(TINY, study), study) == trained


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(TINY, recipe=Recipe(epochs=EPOCHS + 1, batch_size=32)), "epochs was 3 and is now 4"),
        (replace(TINY, train_limit=60), "train_images was 64 and is now 60"),
    ],
)
def test_another_definition_in_the_folder_changes_nothing_there(
    copy: Path, trained: Any, other: Comparison, message: str
) -> None:
    before = {name: (copy / name).read_bytes() for name in files(copy)}
    with pytest.raises(UsageError, match=rf"{message}.*Give another folder"):
        compare(replace(other, variants=parse_variants("dense,het-p2"), seeds=(0, 7)), copy)
    assert {name: (copy / name).read_bytes() for name in files(copy)} == before


def test_another_study_of_the_same_networks_changes_nothing_there(copy: Path) -> None:
    before = {name: (copy / name).read_bytes() for name in files(copy)}
    other = replace(definition_of(replace(TINY, variants=parse_variants("dense,het-p2"), seeds=(0, 7))), name="another")
    with pytest.raises(UsageError, match=r"holds the study .*, not 'another'\. Give another folder with --out"):
        study_folder.open_study(other, copy)
    assert {name: (copy / name).read_bytes() for name in files(copy)} == before


def test_two_definitions_at_once_in_one_folder(tmp_path: Path, trained: Any) -> None:
    """Whichever comes first has the folder; the other is refused, and the first ends as ever."""
    other = replace(TINY, recipe=Recipe(epochs=EPOCHS + 1, batch_size=32))
    with ThreadPoolExecutor(2) as pool:
        opened = [pool.submit(study_folder.open_study, definition_of(asked), tmp_path) for asked in (TINY, other)]
    refused = [future.exception() for future in opened]
    assert [error is None for error in refused].count(True) == 1
    first = next(future for future in opened if future.exception() is None).result()
    assert "Give another folder" in str(next(error for error in refused if error is not None))
    first.work()
    assert [run.state for run in first.results().networks[0].runs] == ["done", "done"]
