import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hetconv.cli import run
from hetconv.errors import UsageError
from hetconv.lab.settings import Recipe
from hetconv.lab.train import Data, load_data, train
from hetconv.lab.train.share import Share
from hetconv.lab.train.write_shards import write_shards

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on machines of one core
TRAIN_IMAGES = 22


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes, no two alike: 22 to train on, 7 held out."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", TRAIN_IMAGES), ("val", 7)):
        for i in range(count):
            path = root / split / f"class{i % 3}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 20), (10 * i, 5 * i, 255 - i)).save(path)
    return root


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in shards of 5, 5, 5, 5 and 2 images."""
    out = tmp_path_factory.mktemp("shards")
    assert run(["shards", str(folder), str(out), "--images-per-shard", "5"]) == 0
    assert sorted(path.name for path in (out / "train").iterdir()) == [f"{i:06d}.tar" for i in range(5)]
    return out


def opened(shards: Path, workers: int = 0) -> Data:
    from dataclasses import replace

    return replace(load_data(f"shards:{shards}", image_size=16), workers=workers)


def seen(loader: DataLoader[object], seed: int = 0) -> list[tuple[int, bytes]]:
    """Label and colour of each image, in the loader's order: augmentation crops and mirrors, and colours stay."""
    torch.manual_seed(seed)
    return [
        (int(label), colour.numpy().tobytes())
        for images, labels in loader
        for colour, label in zip(images[:, :, 8, 8], labels, strict=True)
    ]


def test_held_out_images_are_those_of_the_folder_in_its_order(folder: Path, shards: Path) -> None:
    whole = load_data(f"imagefolder:{folder}", image_size=16)
    data = opened(shards)
    assert (data.num_classes, data.input_size, data.train_images, data.test_images) == (3, (3, 16, 16), 22, 7)
    for expected, found in zip(whole.test_loader(3), data.test_loader(3), strict=True):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_an_epoch_has_every_training_image_once(folder: Path, shards: Path) -> None:
    whole = seen(load_data(f"imagefolder:{folder}", image_size=16).train_loader(2))
    found = seen(opened(shards).train_loader(2))
    assert len(set(found)) == TRAIN_IMAGES
    assert sorted(found) == sorted(whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_comes_from_the_seed_and_repeats(shards: Path, workers: int) -> None:
    loader = opened(shards, workers).train_loader(4)
    first, second, again = (seen(loader, seed) for seed in (0, 1, 0))
    assert len(loader) == 5
    assert len(first) == 20
    assert first == again
    assert first != second
    assert sorted(first) != first


@pytest.mark.parametrize("of", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_an_epoch(shards: Path, of: int, workers: int) -> None:
    """Every process has equally many whole batches, and no image comes twice."""
    data = opened(shards, workers)
    loaders = [data.train_loader(3 * of, Share(index, of)) for index in range(of)]
    found = [seen(loader) for loader in loaders]
    steps = TRAIN_IMAGES // (3 * of)
    assert [len(loader) for loader in loaders] == [steps] * of
    assert [len(part) for part in found] == [3 * steps] * of
    assert len({image for part in found for image in part}) == 3 * steps * of


@pytest.mark.parametrize("of", [1, 3, 8])
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_the_held_out_images(shards: Path, of: int, workers: int) -> None:
    """Every image once, also where a process gets none; in order, but where two loader processes take turns."""
    data = opened(shards, workers)
    parts = [seen(data.test_loader(2, Share(index, of))) for index in range(of)]
    found, expected = [image for part in parts for image in part], seen(opened(shards).test_loader(7))
    assert found == expected if workers == 0 else sorted(found) == sorted(expected)


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), pool, torch.nn.Flatten(),
                               torch.nn.Linear(4, 3))  # fmt: skip


def test_training_goes_on_from_an_epoch_to_the_same_bits(shards: Path, tmp_path: Path) -> None:
    data, recipe = opened(shards), Recipe(epochs=2, batch_size=8, schedule="constant")
    undisturbed = small_network()
    train(undisturbed, data, recipe, seed=3)
    first = Recipe(epochs=1, batch_size=8, schedule="constant")
    train(small_network(), data, first, seed=3, checkpoint=tmp_path / "c.safetensors")
    resumed = small_network()
    train(resumed, data, recipe, seed=3, checkpoint=tmp_path / "c.safetensors")
    for name, expected in undisturbed.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], expected), name


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "png")
    return out.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


GOOD = {"a.png": png(), "a.cls": b"0", "b.png": png(), "b.cls": b"1\n"}
WHOLE = tar_of(GOOD)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"train/0\.tar is cut short or no tar file: .*; copy it afresh"),
        (b"no tar file" * 1000, r"train/0\.tar is cut short or no tar file"),
        (WHOLE[:700], r"train/0\.tar is cut short or no tar file"),
        (WHOLE[:1100], r"train/0\.tar is cut short or no tar file"),
        (WHOLE[:2048], r"train/0\.tar is cut short or no tar file: ReadError: its end is missing; copy it afresh"),
        (tar_of({}), r"train/0\.tar holds no image; delete it"),
        (tar_of({"a.png": png()}), r"train/0\.tar: 'a' has png; each image needs one of jpg, .* and cls beside it"),
        (tar_of({"a.png": png(), "b.cls": b"0"}), "'a' has png; each image needs"),
        (tar_of({"a.txt": b"x", "a.cls": b"0"}), "'a' has cls, txt; each image needs"),
        (tar_of({"README": b"x"}), "'README' has no suffix; each image needs"),
        (tar_of({"a.png": png(), "a.cls": b"cat"}), r"a\.cls='cat' must be a class's number, 0 or more"),
        (tar_of({"a.png": png(), "a.cls": b"-1"}), r"a\.cls='-1' must be a class's number"),
    ],
)
def test_a_wrong_shard_is_one_line_that_names_it(tmp_path: Path, data: bytes, message: str) -> None:
    for split, content in (("train", data), ("val", WHOLE)):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.tar").write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_data(f"shards:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_a_class_that_is_only_held_out_is_refused(tmp_path: Path) -> None:
    for split, label in (("train", b"0"), ("val", b"1")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.tar").write_bytes(tar_of({"a.png": png(), "a.cls": label}))
    with pytest.raises(UsageError, match="val has an image of class 1; the highest of /train is 0"):
        load_data(f"shards:{tmp_path}")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_with_its_shard(tmp_path: Path, workers: int) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.tar").write_bytes(tar_of(GOOD | {"b.png": b"no image"}))
    with pytest.raises(
        UsageError, match=r"^shards: 'b', the image at byte 2560 of .*0\.tar is damaged: .*; replace or delete it$"
    ):
        list(opened(tmp_path, workers).test_loader(4))


def test_shards_are_not_written_over_nor_limited(
    folder: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["shards", str(folder), str(shards)]) == 2
    assert "holds files in train already" in capsys.readouterr().err
    assert run(["shards", "/no/such", str(tmp_path)]) == 2
    assert "looked for /no/such/train/<class>/<image>; the folder train is not there" in capsys.readouterr().err
    with pytest.raises(UsageError, match="train_limit=3 is not for shards"):
        load_data(f"shards:{shards}", train_limit=3)


class StoppedError(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_what_ends_the_writing_leaves_no_shards(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """An error, Ctrl-C, after any number of images; then the same command does all of it."""
    read, calls = Path.read_bytes, []

    def stops(path: Path) -> bytes:
        calls.append(path)
        if len(calls) > after:
            raise StoppedError
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", stops)
        with pytest.raises(StoppedError):
            write_shards(folder, tmp_path, images_per_shard=2)
    assert list(tmp_path.iterdir()) == []
    assert write_shards(folder, tmp_path, images_per_shard=2) == {"train": TRAIN_IMAGES, "val": 7}
    assert load_data(f"shards:{tmp_path}").train_images == TRAIN_IMAGES


def test_what_a_killed_process_left_is_no_set_and_is_told_of(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".unfinished" / "train").mkdir(parents=True)
    (tmp_path / ".unfinished" / "train" / "000000.tar").write_bytes(WHOLE)
    with pytest.raises(UsageError, match=r"looked for .*/train/\*\.tar; there is none"):
        load_data(f"shards:{tmp_path}")
    with pytest.raises(UsageError, match=r"\.unfinished is there: another hetconv writes shards, or was ended"):
        write_shards(folder, tmp_path)


@pytest.mark.parametrize("prefix", ["__a__/", "a.b/", "a/", ""])
def test_every_image_that_is_counted_is_read(tmp_path: Path, prefix: str) -> None:
    """Whatever other readers of this convention make of the names."""
    files = {f"{prefix}{name}": data for name, data in GOOD.items()}
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.tar").write_bytes(tar_of(files))
    data = opened(tmp_path)
    assert data.train_images == data.test_images == 2
    assert sum(len(labels) for _, labels in data.train_loader(2)) == 2
    assert [labels.tolist() for _, labels in data.test_loader(2)] == [[0, 1]]
