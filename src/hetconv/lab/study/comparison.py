"""Variants of one network that are trained from the same seeds by one recipe."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hetconv.cost import complexity
from hetconv.errors import UsageError
from hetconv.lab.compress import StageSettings, parse_method
from hetconv.lab.models import create_model, parse_variant
from hetconv.lab.results import LARGEST_SEED, StudySettings
from hetconv.lab.train import Data, FromWeights, Objective, Recipe, load_data
from hetconv.lab.trained import title
from hetconv.records import adapter
from hetconv.weights import load_weights


@dataclass(frozen=True)
class Comparison:
    """What `hetconv compare` is asked for.

    Attributes:
        network: any name that `hetconv.lab.create_model` takes; `width` scales the four own ones.
        variants, seeds: every variant is trained from every seed.
        data: any name that `hetconv.lab.train.load_data` takes; `train_limit` and `image_size` as there.
        latency_batch: images in the batch whose forward pass is timed.
        stages: how networks that are compressed are trained after `recipe`.
        weights: the file that every run begins from, as `hetconv.load_weights` takes it: of the variant itself, or of
            the dense network, of which HetConv layers keep their part.
    """

    network: str
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    recipe: Recipe
    width: float = 1.0
    image_size: int = 224
    train_limit: int | None = None
    latency_batch: int = 1
    latency_samples: int = 30
    stages: StageSettings = field(default_factory=StageSettings)
    weights: str | None = None

    def __post_init__(self) -> None:
        for name in ("variants", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise UsageError(f"{name}={','.join(map(str, values))!r} must name at least one, and each only once")
        wrong = [seed for seed in self.seeds if not 0 <= seed <= LARGEST_SEED]
        if wrong:
            raise UsageError(f"seeds={','.join(map(str, wrong))!r} must be 0 or more and below 2^63")
        for variant in self.variants:
            word = parse_variant(variant).method
            if word is not None:
                method = parse_method(word)
                self.stages.preparation(method, self.recipe)  # their settings too are checked before anything is done
                self.stages.retraining(method, self.recipe)
        if self.latency_batch < 1 or self.latency_samples < 1:
            raise UsageError("latency_batch and latency_samples must be at least 1")

    def build(self, variant: str, num_classes: int) -> nn.Module:
        """The untrained network; of a variant that is compressed after training, its base."""
        return create_model(self.network, self.base(variant), num_classes, width=self.width)

    def starting_network(self, variant: str, num_classes: int) -> nn.Module:
        """The network that training begins with.

        Raises:
            UsageError: the weights are not of this variant.
        """
        model = self.build(variant, num_classes)
        if self.weights is not None:
            try:
                load_weights(Path(self.weights).expanduser(), model, from_dense=True)
            except UsageError as error:
                raise UsageError(f"{variant} cannot begin from these weights: {error}") from error
        return model

    @property
    def objective(self) -> Objective:
        return Objective() if self.weights is None else FromWeights()

    def base(self, variant: str) -> str:
        """What a variant is before it is compressed; itself where it is not."""
        parsed = parse_variant(variant)
        return variant if parsed.method is None else parsed.base

    @property
    def compressed(self) -> tuple[str, ...]:
        """Variants that are compressed after training."""
        return tuple(variant for variant in self.variants if parse_variant(variant).method is not None)

    def load_data(self) -> Data:
        return load_data(self.data, image_size=self.image_size, train_limit=self.train_limit)

    def settings(self, data: Data) -> StudySettings:
        """What the records say of it."""
        stages = {name: value for name, value in asdict(self.stages).items() if value is not None}
        return StudySettings(
            title(self.network, self.width), data.name, data.num_classes, data.input_size, data.train_images,
            data.test_images, self.variants, self.seeds, adapter(Recipe).dump_python(self.recipe, mode="json") | stages,
            self._weights_and_content(),
        )  # fmt: skip

    def _weights_and_content(self) -> str | None:
        if self.weights is None:
            return None
        path = Path(self.weights).expanduser()
        try:
            with path.open("rb") as file:
                return f"{path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise UsageError(f"cannot read the weights {path}: {error.strerror}") from error

    def identity(self, data: Data, variant: str, seed: int) -> dict[str, Any]:
        """What a run's checkpoint must be of to be gone on from, as JSON gives it back."""
        stages = StageSettings() if parse_variant(variant).method is None else self.stages
        settings = replace(self, variants=(variant,), seeds=(seed,), stages=stages).settings(data)
        names = {"class_names": list(data.class_names)} if data.class_names else {}
        return adapter(StudySettings).dump_python(settings, mode="json") | names  # type: ignore[no-any-return]

    def check_classifies(self, data: Data) -> None:
        """Find out before hours of training that a network does not take these images, is no classifier, or cannot be
        compressed as it is asked for.

        Raises:
            UsageError: which variant, and what it gives instead, or why it cannot be compressed.
        """
        for variant in self.variants:
            model = self.starting_network(variant, data.num_classes)
            complexity(model, data.input_size)
            with torch.no_grad():
                output = model.eval()(torch.zeros(1, *data.input_size))
            if not isinstance(output, torch.Tensor) or output.shape != (1, data.num_classes):
                shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
                raise UsageError(
                    f"{variant}: the network gives {shape}, not (batch, {data.num_classes}); it must be a classifier"
                )
            self._check_method(variant, model, data)

    def _check_method(self, variant: str, model: nn.Module, data: Data) -> None:
        method = parse_variant(variant).method
        if method is None:
            return
        try:
            parse_method(method).check(model, torch.randn(2, *data.input_size))
        except UsageError as error:
            raise UsageError(f"{variant}: {error}") from error
