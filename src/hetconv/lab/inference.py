"""A trained network from any file that hetconv writes, its accuracy, and what it says of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hetconv.deployment.deployed_file import is_deployed, load_deployed
from hetconv.errors import HetconvError, UsageError
from hetconv.export.metadata import Metadata
from hetconv.export.native import DOMAIN
from hetconv.foreign import foreign
from hetconv.lab.models.registry import starts_random
from hetconv.lab.named import OWN, trained_network
from hetconv.lab.settings import TrainedAs
from hetconv.lab.train import Data
from hetconv.lab.train.images import image_transform, read_image
from hetconv.lab.trained import Trained
from hetconv.runtimes.onnx_runtime import OnnxRuntimeSession
from hetconv.runtimes.session import require
from hetconv.tensor_file import NotSafetensorsError, read_metadata

IMAGE_SIZE = 224
AT_ONCE = 32
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Opened:
    """A network that takes images (B, C, H, W) and gives (B, classes); the size of its images and the names of its
    classes, where its file or name says so."""

    network: Network
    image_size: int | None = None
    class_names: tuple[str, ...] = ()

    def size(self, asked: int | None) -> int:
        """Height and width of the images it gets: as asked, as its file says, or what is usual for ImageNet."""
        return next(size for size in (asked, self.image_size, IMAGE_SIZE) if size is not None)


@dataclass(frozen=True)
class Accuracy:
    """How many of labelled images a network gives the right class."""

    images: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.images

    def __str__(self) -> str:
        return f"accuracy on {self.images:,} images: {self.share:.2%}"


@dataclass(frozen=True)
class Prediction:
    """The classes that a network finds likeliest in a picture, the first first, and their probabilities."""

    file: Path
    classes: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.file}: " + ", ".join(f"{name} {share:.1%}" for name, share in self.classes)


def open_network(path: Path, model: str | None = None, made: TrainedAs = OWN, threads: int = 1) -> Opened:
    """The network of a deployed file, an ONNX file, a checkpoint, or a state dict as safetensors.

    Args:
        model: the name of a state dict's network; a checkpoint says it itself, but where it is a user's own function.
        made: how a checkpoint's or state dict's network is built.
        threads: of ONNX Runtime.

    Raises:
        UsageError: there is no such file, it is of another kind, or `model` is missing.
        HetconvError: ONNX Runtime cannot load the file.
    """
    if not path.is_file():
        raise UsageError(f"looked for the network {path}; it is not there")
    if path.suffix == ".onnx":
        return _onnx(path, threads)
    try:
        deployed = is_deployed(read_metadata(path))
    except NotSafetensorsError as error:
        raise UsageError(f"{path} is neither an ONNX file (.onnx) nor a safetensors file ({error})") from error
    if deployed:
        network = load_deployed(path)
        return Opened(network, network.image_size, network.class_names)
    trained = Trained.of(path)
    if model is None and (trained is None or not starts_random(trained.network)):
        raise UsageError(f"{path} does not say whose weights it holds; give the network with --model")
    built, own = trained_network(model or trained.network, path, made)  # type: ignore[union-attr]
    return Opened(built, own.input_size[-1], own.class_names)


def evaluate(network: Network, data: Data) -> Accuracy:
    """On the held-out split, on the CPU.

    Raises:
        UsageError: the network does not take these images, or gives no classes for them, or too few.
    """
    images, right = 0, 0
    for batch, labels in data.test_loader(AT_ONCE):
        scores = _scores(network, batch)
        if scores.shape[1] < data.num_classes:
            raise UsageError(
                f"the network has {scores.shape[1]} classes, and {data.name} has {data.num_classes}; "
                "give the data that it was trained for"
            )
        classes = scores.argmax(1)
        images, right = images + len(labels), right + int((classes == labels).sum())
    return Accuracy(images, right)


def check_classes(names: tuple[str, ...], data: Data) -> None:
    """Whether a data set has the classes that a network was trained for, where both name them.

    Raises:
        UsageError: it has others.
    """
    if names and data.class_names and names != data.class_names:
        own, given = (", ".join(several[:4]) + ", …" * (len(several) > 4) for several in (names, data.class_names))
        raise UsageError(
            f"the network was trained for other classes ({own}) than {data.name} has ({given}); "
            "give the data that it was trained for"
        )


def predict(
    network: Network, files: Sequence[Path], image_size: int = IMAGE_SIZE, top: int = 5, names: Sequence[str] = ()
) -> Iterator[Prediction]:
    """What a network sees in image files, each prepared as those of an image folder are.

    Args:
        names: of all classes, in order; their numbers without.

    Raises:
        UsageError: a file is missing or no image, or the network has another number of classes than `names`.
    """
    transform = image_transform(image_size, augment=False)
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder; give image files, such as {file}/*.jpg")
        if not file.is_file():
            raise UsageError(f"looked for the image {file}; it is not there")
        scores = _scores(network, transform(read_image(str(file), str(file)))[None])[0]
        if names and len(names) != len(scores):
            raise UsageError(
                f"the network has {len(scores)} classes, and {len(names)} names are given; give one for each"
            )
        shares, indices = scores.softmax(0).topk(min(top, len(scores)))
        found = zip(indices.tolist(), shares.tolist(), strict=True)
        yield Prediction(file, tuple((names[index] if names else f"class {index}", share) for index, share in found))


def class_names(path: Path) -> list[str]:
    """The names in a text file, one a line; or of the folders in a folder, sorted as an image folder's classes are.

    Raises:
        UsageError: there are none.
    """
    with foreign(f"cannot read class names from {path}"):
        names: Iterable[str] = (
            sorted(entry.name for entry in path.iterdir() if entry.is_dir())
            if path.is_dir()
            else path.read_text(encoding="utf-8").splitlines()
        )
    found = [name.strip() for name in names if name.strip()]
    if not found:
        raise UsageError(f"{path} has no class names: one a line, or a folder with a folder for each class")
    return found


def _scores(network: Network, images: Tensor) -> Tensor:
    with torch.no_grad(), foreign(f"the network does not take images of shape {tuple(images.shape)}"):
        scores = network(images)
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UsageError(f"the network gives {got}, not (batch, classes); it must be a classifier")
    return scores.float()


def _onnx(path: Path, threads: int) -> Opened:
    content = path.read_bytes()
    require("onnxruntime")
    with foreign(f"ONNX Runtime cannot load {path}", HetconvError):
        session = OnnxRuntimeSession(content, threads, native=DOMAIN.encode() in content)
    with foreign(f"{path} cannot be used"):
        own = Metadata.of(session.metadata)
    return Opened(lambda images: torch.from_numpy(session(images.numpy())), own.image_size, own.class_names)
