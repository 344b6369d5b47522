"""What a study is: networks × variants × seeds, how each run is trained, and the claims that are tested."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

from hetconv.errors import UsageError
from hetconv.lab.compress import StageSettings
from hetconv.lab.models import parse_variant
from hetconv.lab.results import Claim
from hetconv.lab.study.comparison import Comparison
from hetconv.lab.train import Recipe
from hetconv.records import Record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunKey:
    """One run of a study."""

    network: str
    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.network} {self.variant} seed {self.seed}"

    @property
    def base(self) -> RunKey | None:
        """Of a network that is compressed after training, the run that trains it; None for any other."""
        variant = parse_variant(self.variant)
        return None if variant.method is None else replace(self, variant=variant.base)


@dataclass(frozen=True)
class SourcedRecipe:
    """How a run is trained, and who trained so: a paper, a repository, or this project."""

    recipe: Recipe
    source: str = ""


@dataclass(frozen=True)
class StudyKeys(Record):
    """What a study's file says, but for its recipes.

    Attributes:
        name: names the study in its folder; letters, digits, dots, dashes and underscores.
        networks, variants, seeds: every variant of every network is trained from every seed.
        recipe: the name of the recipe that every run is trained by.
        data, width, image_size, train_limit, latency_batch, latency_samples, stages, weights: as in `Comparison`.
        threads: PyTorch's threads of one run; a run's bits depend on them. None: all cores over `workers`.
        workers: processes that `hetconv study run` starts.
    """

    name: str
    networks: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    data: str
    recipe: str
    title: str = ""
    claims: tuple[Claim, ...] = ()
    width: float = 1.0
    image_size: int = 224
    train_limit: int | None = None
    latency_batch: int = 1
    latency_samples: int = 30
    stages: StageSettings = field(default_factory=StageSettings)
    weights: str | None = None
    threads: int | None = None
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class StudyDefinition(StudyKeys):
    """A study as its file says it.

    Attributes:
        recipes: by name.
        text: the file itself.

    Raises:
        UsageError: a value is out of its range, a name is given twice, or a claim is of a variant that is not studied.
    """

    recipes: dict[str, SourcedRecipe]
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise UsageError(f"name={self.name!r} must be letters, digits, dots, dashes and underscores")
        if not self.networks or len(set(self.networks)) != len(self.networks):
            raise UsageError(f"networks={list(self.networks)} must name at least one, and each only once")
        if self.recipe not in self.recipes:
            raise UsageError(f"recipe={self.recipe!r} must be one of {', '.join(self.recipes)}")
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value} must be at least 1")
        self.comparisons()
        for claim in self.claims:
            self._check(claim)

    def _check(self, claim: Claim) -> None:
        for name, value, known in (
            ("variant", claim.variant, self.variants),
            ("against", claim.against, self.variants),
            ("network", claim.network, (None, *self.networks)),
        ):
            if value not in known:
                names = ", ".join(item for item in known if item is not None)
                raise UsageError(f"claim {claim.name!r}: {name}={value!r} is not in this study, which has {names}")
        if not 0 <= claim.margin < math.inf:
            raise UsageError(f"claim {claim.name!r}: margin={claim.margin} must be 0 or more percentage points")

    def run_keys(self) -> tuple[RunKey, ...]:
        """Every run, in the order in which they are begun."""
        return tuple(
            RunKey(network, variant, seed)
            for seed in self.seeds
            for network in self.networks
            for variant in self.variants
        )

    def comparisons(self) -> dict[str, Comparison]:
        """The study of each network."""
        return {network: self.comparison(network) for network in self.networks}

    def comparison(self, network: str) -> Comparison:
        """One network's part of the study."""
        return Comparison(
            network, self.variants, self.seeds, self.data, self.recipes[self.recipe].recipe, self.width,
            self.image_size, self.train_limit, self.latency_batch, self.latency_samples, self.stages, self.weights,
        )  # fmt: skip

    def changed(self, **changes: Any) -> StudyDefinition:
        """The same study with other values of what is not None: recipe, data, workers, threads."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def definition_of(comparison: Comparison, *, threads: int | None = None) -> StudyDefinition:
    """The study of one network that a command line asks for."""
    return StudyDefinition(
        "compare", (comparison.network,), comparison.variants, comparison.seeds, comparison.data, "given",
        width=comparison.width, image_size=comparison.image_size, train_limit=comparison.train_limit,
        latency_batch=comparison.latency_batch, latency_samples=comparison.latency_samples, stages=comparison.stages,
        weights=comparison.weights, threads=threads,
        recipes={"given": SourcedRecipe(comparison.recipe, "the command line")},
    )  # fmt: skip
