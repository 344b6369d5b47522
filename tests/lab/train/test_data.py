import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hetconv.errors import UsageError
from hetconv.lab.train import load_data
from hetconv.lab.train.images import CROP_PADDING, TensorSplit, random_crop, random_flip, reflected_shift


def write_cifar10(folder: Path, images_per_batch: int = 20) -> Path:
    """A set of the CIFAR-10 layout with random pixels, whose checksums torchvision is told to expect."""
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels = generator.integers(0, 256, (images_per_batch, 3072), dtype=np.uint8)
        labels = [i % 10 for i in range(images_per_batch)]
        (batches / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    names = [f"class{i}" for i in range(10)]
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return folder


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return write_cifar10(tmp_path / "data")


@pytest.fixture
def imagefolder(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, grey in (("cat", 40), ("dog", 200)):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (grey, grey, i)).save(folder / f"{i}.png")
    return tmp_path / "images"


def test_digits_are_split_once_and_for_all() -> None:
    data = load_data("digits")
    assert (data.train_images, data.test_images, data.num_classes, data.input_size) == (1437, 360, 10, (3, 32, 32))
    labels = torch.cat([labels for _, labels in data.test_loader(100)])
    assert labels.bincount().tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    train = {image.numpy().tobytes() for image in data.train.images}  # type: ignore[attr-defined]
    test = {image.numpy().tobytes() for image in data.test.images}  # type: ignore[attr-defined]
    assert not train & test


def test_training_batches_are_whole_and_normalized() -> None:
    torch.manual_seed(0)
    batches = list(load_data("digits").train_loader(128))
    assert len(batches) == 11
    images = torch.cat([images for images, _ in batches])
    assert images.shape == (1408, 3, 32, 32)
    assert torch.isfinite(images).all()


def test_the_order_comes_from_the_seed() -> None:
    data = load_data("digits")
    firsts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        firsts.append(next(iter(data.train_loader(64)))[0])
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


def test_cifar10(cifar10: Path) -> None:
    for folder in (cifar10, cifar10 / "cifar-10-batches-py"):
        data = load_data(f"cifar10:{folder}")
        assert (data.train_images, data.test_images, data.input_size) == (100, 20, (3, 32, 32))


def test_damaged_cifar10(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    with pytest.raises(UsageError, match="missing files or they are damaged"):
        load_data(f"cifar10:{tmp_path}")


def test_imagefolder(imagefolder: Path) -> None:
    data = load_data(f"imagefolder:{imagefolder}", image_size=16)
    assert (data.train_images, data.test_images, data.num_classes, data.input_size) == (6, 4, 2, (3, 16, 16))
    images, labels = next(iter(data.test_loader(4)))
    assert images.shape == (4, 3, 16, 16)
    assert labels.tolist() == [0, 0, 1, 1]


def test_a_part_of_an_image_folder_is_one_too(imagefolder: Path) -> None:
    """Without augmentation the images of a part are those of the whole."""
    whole = load_data(f"imagefolder:{imagefolder}", image_size=16).train.plain()
    part = load_data(f"imagefolder:{imagefolder}", image_size=16).train.subset([3, 1]).subset([1]).plain()
    assert part.classes == whole.classes
    assert len(part) == 1
    assert torch.equal(part[0][0], whole[1][0])


def test_augmentation_of_image_files_comes_from_the_seed(imagefolder: Path) -> None:
    data = load_data(f"imagefolder:{imagefolder}", image_size=16)
    loader = data.train_loader(6)
    epochs = []
    for seed in (0, 1, 0, 1):
        torch.manual_seed(seed)
        epochs.append(next(iter(loader))[0])
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert not torch.equal(epochs[0], epochs[1])


def test_a_damaged_image_is_named(imagefolder: Path) -> None:
    (imagefolder / "val" / "cat" / "0.png").write_bytes(b"no image")
    data = load_data(f"imagefolder:{imagefolder}", image_size=16)
    with pytest.raises(UsageError, match=r"^imagefolder: .*0\.png is damaged: .*; replace or delete it$"):
        list(data.test_loader(4))


def test_classes_must_agree(imagefolder: Path) -> None:
    (imagefolder / "val" / "cat").rename(imagefolder / "val" / "cow")
    with pytest.raises(UsageError, match="different classes: cat, cow"):
        load_data(f"imagefolder:{imagefolder}")


def test_train_limit_takes_a_fixed_subset_and_leaves_the_held_out_split() -> None:
    data = load_data("digits", train_limit=50)
    assert (data.train_images, data.test_images) == (50, 360)
    assert torch.equal(data.train.labels, load_data("digits", train_limit=50).train.labels)  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", ["mnist", "digits:folder", "cifar10", "cifar10:", "imagefolder:", "shards:", ""])
def test_unknown_sets(spec: str) -> None:
    with pytest.raises(
        UsageError, match="it must be digits, cifar10:<folder>, imagefolder:<folder> or shards:<folder>"
    ):
        load_data(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cifar10:/no/such", "looked for the folder /no/such/cifar-10-batches-py"),
        ("imagefolder:/no/such", "looked for /no/such/train/<class>/<image>"),
        ("shards:/no/such", r"looked for /no/such/train/\*\.tar; there is none"),
    ],
)
def test_missing_data_says_what_was_looked_for_where(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(spec)


@pytest.mark.parametrize("limit", [0, 1438])
def test_wrong_train_limit(limit: int) -> None:
    with pytest.raises(UsageError, match=f"train_limit={limit} must be between 1 and the 1437"):
        load_data("digits", train_limit=limit)


def test_random_crop_is_a_shift_of_at_most_the_padding() -> None:
    torch.manual_seed(0)
    images = torch.arange(1, 1 + 64 * 36, dtype=torch.float32).reshape(64, 1, 6, 6)
    padded = torch.nn.functional.pad(images, (CROP_PADDING,) * 4)
    for image, source in zip(random_crop(images), padded, strict=True):
        windows = source.unfold(1, 6, 1).unfold(2, 6, 1)[0]
        assert (windows == image[0]).all(-1).all(-1).any()


def test_random_flip_mirrors_some_and_changes_no_other() -> None:
    torch.manual_seed(0)
    images = torch.arange(64 * 9).reshape(64, 1, 3, 3)
    flipped = [not torch.equal(a, b) for a, b in zip(random_flip(images), images, strict=True)]
    assert 16 < sum(flipped) < 48
    mirrored = random_flip(images)[torch.tensor(flipped)]
    assert mirrored.shape[0] == sum(flipped)


def test_a_reflected_shift_moves_whole_images_by_up_to_two_pixels() -> None:
    images = torch.arange(2 * 3 * 6 * 6, dtype=torch.uint8).reshape(2, 3, 6, 6).repeat(50, 1, 1, 1)
    torch.manual_seed(0)
    shifted = reflected_shift(images)
    padded = torch.nn.functional.pad(images.float(), (2,) * 4, mode="reflect").byte()
    places = [(row, column) for row in range(5) for column in range(5)]
    found = []
    for image, original in zip(shifted, padded, strict=True):
        found += [(r, c) for r, c in places if torch.equal(image, original[:, r : r + 6, c : c + 6])]
    assert len(found) == 100
    assert len(set(found)) > 20


def test_each_image_is_mirrored_in_every_other_epoch() -> None:
    split = load_data("digits", train_limit=100).train
    assert isinstance(split, TensorSplit)
    first, second, third, other = (split.alternating(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (0, 2), (1, 0)))
    assert torch.equal(first.images, third.images)
    assert torch.equal(first.images, second.images.flip(3))
    mirrored = (first.images != split.images).flatten(1).any(1)
    assert 30 < int(mirrored.sum()) < 70
    assert not torch.equal(first.images, other.images)


def test_airbench_augmentation_is_for_images_in_memory(imagefolder: Path) -> None:
    data = load_data(f"imagefolder:{imagefolder}", image_size=32)
    assert data.of_epoch("default", 0, 0) is data
    with pytest.raises(UsageError, match="augmentation='airbench' is for digits and cifar10, not for imagefolder"):
        data.of_epoch("airbench", 0, 0)


def test_first_images_are_plain_and_the_same_every_time() -> None:
    data = load_data("digits")
    torch.manual_seed(0)
    first = data.first_images(5)
    assert first.shape == (5, 3, 32, 32)
    assert torch.equal(first, data.first_images(5))
    assert len(load_data("digits", train_limit=20).first_images(5000)) == 20
