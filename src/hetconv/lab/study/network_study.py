"""One network of a study: how it is built and checked, and what records say of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from hetconv.cost import complexity
from hetconv.errors import UsageError
from hetconv.lab.compress import parse_method, preparation, retraining
from hetconv.lab.models import create_model
from hetconv.lab.results import StudySettings
from hetconv.lab.settings import Comparison, Recipe, StageSettings
from hetconv.lab.study.store import Store
from hetconv.lab.train import Data, FromWeights, Objective, load_data
from hetconv.lab.trained import title
from hetconv.lab.variant import Variant, parse_variant
from hetconv.records import adapter
from hetconv.weights_file import load_weights


@dataclass(frozen=True)
class NetworkOnData:
    """What is trained, and on what."""

    comparison: Comparison
    data: Data

    def build(self, variant: Variant) -> nn.Module:
        """The untrained network; of a variant that is compressed after training, its base."""
        return create_model(self.comparison.network, variant.base, self.data.num_classes, width=self.comparison.width)

    def starting_network(self, variant: Variant) -> nn.Module:
        """The network that training begins with.

        Raises:
            UsageError: the weights are not of this variant.
        """
        model = self.build(variant)
        if self.comparison.weights is not None:
            try:
                load_weights(self.comparison.weights.expanduser(), model, from_dense=True)
            except UsageError as error:
                raise UsageError(f"{variant} cannot begin from these weights: {error}") from error
        return model

    @property
    def objective(self) -> Objective:
        return Objective() if self.comparison.weights is None else FromWeights()

    def settings(self) -> StudySettings:
        """What the records say of it."""
        asked, data = self.comparison, self.data
        recipe = adapter(Recipe).dump_python(asked.recipe, mode="json", exclude={"source"})
        stages = adapter(StageSettings).dump_python(asked.stages, mode="json", exclude_none=True)
        return StudySettings(
            title(asked.network, asked.width), data.name, data.num_classes, data.input_size, data.train_images,
            data.test_images, tuple(map(str, asked.variants)), asked.seeds, recipe | stages,
            self._weights_and_content(),
        )  # fmt: skip

    def _weights_and_content(self) -> str | None:
        if self.comparison.weights is None:
            return None
        path = self.comparison.weights.expanduser()
        try:
            with path.open("rb") as file:
                return f"{path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise UsageError(f"cannot read the weights {path}: {error.strerror}") from error

    def identity(self, variant: Variant, seed: int) -> dict[str, Any]:
        """What a run's checkpoint must be of to be gone on from, as JSON gives it back."""
        stages = StageSettings() if variant.method is None else self.comparison.stages
        alone = replace(self, comparison=replace(self.comparison, variants=(variant,), seeds=(seed,), stages=stages))
        names = {"class_names": list(self.data.class_names)} if self.data.class_names else {}
        return adapter(StudySettings).dump_python(alone.settings(), mode="json") | names  # type: ignore[no-any-return]

    def check(self) -> None:
        """Find out before hours of training that a network does not take these images, is no classifier, or cannot be
        compressed as it is asked for.

        Raises:
            UsageError: which variant, and what it gives instead, or why it cannot be compressed.
        """
        for variant in self.comparison.compressed:
            self._check_stages(variant)
        for variant in self.comparison.variants:
            model = self.starting_network(variant)
            complexity(model, self.data.input_size)
            with torch.no_grad():
                output = model.eval()(torch.zeros(1, *self.data.input_size))
            if not isinstance(output, torch.Tensor) or output.shape != (1, self.data.num_classes):
                shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
                raise UsageError(
                    f"{variant}: the network gives {shape}, not (batch, {self.data.num_classes}); "
                    "it must be a classifier"
                )
            self._check_method(variant, model)

    def _check_stages(self, variant: Variant) -> None:
        assert variant.method is not None
        method, asked = parse_method(variant.method), self.comparison
        preparation(method, asked.recipe, asked.stages)
        retraining(method, asked.recipe, asked.stages)

    def _check_method(self, variant: Variant, model: nn.Module) -> None:
        if variant.method is None:
            return
        try:
            parse_method(variant.method).check(model, torch.randn(2, *self.data.input_size))
        except UsageError as error:
            raise UsageError(f"{variant}: {error}") from error


@dataclass(frozen=True)
class NetworkStudy(NetworkOnData):
    """What is trained, on what, and where it is kept."""

    store: Store

    def holding(self, settings: StudySettings) -> Self:
        """The same, of all variants and seeds that its folder holds."""
        variants = tuple(map(parse_variant, settings.variants))
        return replace(self, comparison=replace(self.comparison, variants=variants, seeds=settings.seeds))


def data_of(comparison: Comparison) -> Data:
    """The images that a comparison names."""
    return load_data(comparison.data, image_size=comparison.image_size, train_limit=comparison.train_limit)
