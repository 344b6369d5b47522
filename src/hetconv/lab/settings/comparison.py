"""What is trained, on what and how: the settings of `hetconv train`, `compare` and `sensitivity`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from hetconv.errors import UsageError
from hetconv.lab.results import LARGEST_SEED
from hetconv.lab.settings.recipe import Recipe
from hetconv.lab.settings.setting import Setting, check
from hetconv.lab.variant import DENSE, Variant, parse_variants
from hetconv.records import Record

MOST_THREADS = 1024
COMPARED = parse_variants("dense,het-p4,het-p8,gwc4-pwc,dwc-pwc")
NETWORKS = "vgg16_cifar, resnet20_cifar, …; torchvision's (resnet50, …), timm:NAME, or module:function."
DATA = "digits, or cifar10:, imagefolder: or shards:<folder>."
OWN_WIDTH = "Factor on the channels of hetconv's own networks"
WEIGHTS_FILE = "a checkpoint of hetconv, or a state dict as safetensors"

NetworkName = Annotated[str, Setting(NETWORKS, positional=True)]
DataName = Annotated[str, Setting(DATA)]
Width = Annotated[float, Setting(f"{OWN_WIDTH}.")]
Classes = Annotated[int, Setting("Classes of the network.", at_least=1)]
ImageSize = Annotated[
    int, Setting("Height and width of an image folder's images, in pixels.", at_least=8, at_most=16384)
]
TrainLimit = Annotated[int, Setting("Train on only this many images of a fixed shuffle.", at_least=1)]
StageEpochs = Annotated[
    int, Setting("Epochs of this stage, for compressed variants; as in their paper by default.", at_least=1)
]
StageRate = Annotated[
    float, Setting("Learning rate of this stage, with --schedule; as in their paper by default.", at_least=0)
]
Variants = Annotated[tuple[Variant, ...], Setting("Kinds of layers to compare, comma-separated.")]
LayerKind = Annotated[Variant, Setting("Kind of layers: dense, het-p4, gwc4-pwc, ….")]
Seed = Annotated[
    int, Setting("Seed of the first weights and of the order of images.", at_least=0, at_most=LARGEST_SEED)
]
TimedBatch = Annotated[int, Setting("Images in the batch that is timed.", at_least=1)]
Threads = Annotated[int, Setting("PyTorch's threads; all cores by default.", at_least=1, at_most=MOST_THREADS)]
RuntimeThreads = Annotated[
    int, Setting("The runtime's threads while files are timed.", at_least=1, at_most=MOST_THREADS)
]


@dataclass(frozen=True)
class StageSettings(Record):
    """What is changed of the stages after the first; None leaves what the method's paper does.

    A stage whose learning rate is given follows the schedule of the first stage, without warm-up.

    Raises:
        UsageError: a value is out of its range.
    """

    retrain_epochs: StageEpochs | None = None
    retrain_lr: StageRate | None = None
    prepare_epochs: StageEpochs | None = None
    prepare_lr: StageRate | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Setup(Record):
    """What networks are trained on, and begin from.

    Attributes:
        weights: of the variant itself, or of the dense network, of which HetConv layers keep their part.
    """

    data: DataName = "digits"
    weights: Annotated[Path | None, Setting(f"Weights to begin with: {WEIGHTS_FILE}.")] = None
    width: Width = 1.0
    image_size: ImageSize = 224
    train_limit: TrainLimit | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Runs(Setup):
    """Every variant, trained from every seed: what a comparison and a study have alike.

    Attributes:
        latency_samples: rounds in which the time is taken.
        stages: how networks that are compressed are trained after their recipe.

    Raises:
        UsageError: a value is out of its range, or is given twice.
    """

    variants: Variants
    seeds: tuple[int, ...]
    latency_batch: TimedBatch = 1
    latency_samples: Annotated[int, Setting("Rounds in which the time is taken.", at_least=1)] = 30
    stages: StageSettings = field(default_factory=StageSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("variants", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise UsageError(f"{name}={','.join(map(str, values))!r} must name at least one, and each only once")
        wrong = [seed for seed in self.seeds if not 0 <= seed <= LARGEST_SEED]
        if wrong:
            raise UsageError(f"seeds={','.join(map(str, wrong))!r} must be 0 or more and below 2^63")

    @property
    def compressed(self) -> tuple[Variant, ...]:
        """Variants that are compressed after training."""
        return tuple(variant for variant in self.variants if variant.method is not None)


@dataclass(frozen=True, kw_only=True)
class Comparison(Runs):
    """What `hetconv compare` is asked for, and each network of a study."""

    network: NetworkName = "resnet20_cifar"
    variants: Variants = COMPARED
    seeds: tuple[int, ...] = (0,)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True, kw_only=True)
class SingleRun(Setup):
    """What `hetconv train` is asked for: one variant of one network, from one seed."""

    network: NetworkName = "resnet20_cifar"
    variant: LayerKind = DENSE
    seed: Seed = 0
    recipe: Recipe = field(default_factory=Recipe)

    def comparison(self) -> Comparison:
        """The comparison of this run alone."""
        return Comparison(
            network=self.network,
            variants=(self.variant,),
            seeds=(self.seed,),
            recipe=self.recipe,
            **shared(self, Setup),
        )


@dataclass(frozen=True, kw_only=True)
class Probing(SingleRun):
    """What `hetconv sensitivity` is asked for.

    Attributes:
        weights: of the trained network. None: it is trained by the recipe.
        parts, shares, layers: as in `hetconv.lab.compress.sensitivity`.
        validation_images: the last of the shuffle that `train_limit` takes the first of, so that a network trained with
            such a limit has not seen them.
    """

    weights: Annotated[Path | None, Setting(f"The trained network: {WEIGHTS_FILE}; trained here without.")] = None
    parts: Annotated[tuple[int, ...] | None, Setting("Values of P, such as 2,4,8; or none.", option="--p")] = None
    shares: Annotated[tuple[float, ...] | None, Setting("Shares of filters removed, such as 0.25,0.5; or none.")] = None
    layers: Annotated[
        tuple[str, ...] | None, Setting("Names of convolutions, comma-separated; all K×K ones by default.")
    ] = None
    validation_images: Annotated[
        int | None, Setting("Training images on which accuracy is measured; a fifth of them by default.", at_least=1)
    ] = None


def shared(settings: object, kind: Any) -> dict[str, Any]:
    """The settings that a class and that of `settings` have alike, by name."""
    return {item.name: getattr(settings, item.name) for item in fields(kind)}
