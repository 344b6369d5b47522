"""What a study is: networks × variants × seeds, how each run is trained, and the claims that are tested."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from hetconv.errors import UsageError
from hetconv.lab.results import Claim
from hetconv.lab.settings.comparison import MOST_THREADS, Comparison, Runs, shared
from hetconv.lab.settings.recipe import Recipe
from hetconv.lab.settings.setting import Setting
from hetconv.lab.variant import Variant

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

RecipeName = Annotated[str, Setting("Which of the study's recipes every run is trained by, such as paper.")]
RunThreads = Annotated[int, Setting("PyTorch's threads of each process.", at_least=1, at_most=MOST_THREADS)]
Workers = Annotated[int, Setting("Processes that work on this machine.", at_least=1)]


@dataclass(frozen=True)
class RunKey:
    """One run of a study."""

    network: str
    variant: Variant
    seed: int

    def __str__(self) -> str:
        return f"{self.network} {self.variant} seed {self.seed}"

    @property
    def base(self) -> RunKey | None:
        """Of a network that is compressed after training, the run that trains it; None for any other."""
        return None if self.variant.method is None else replace(self, variant=self.variant.base)


@dataclass(frozen=True, kw_only=True)
class StudyDefinition(Runs):
    """A study as its file says it.

    Attributes:
        name: names the study in its folder; letters, digits, dots, dashes and underscores.
        networks: every variant of every network is trained from every seed.
        recipe: the name of the recipe that every run is trained by.
        threads: a run's bits depend on them. None: all cores over `workers`.
        text: the file itself, which is no key of it.

    Raises:
        UsageError: a value is out of its range, a name is given twice, or a claim is of a variant that is not studied.
    """

    name: str
    title: str = ""
    networks: tuple[str, ...]
    recipe: RecipeName
    recipes: dict[str, Recipe]
    claims: tuple[Claim, ...] = ()
    threads: RunThreads | None = None
    workers: Workers = 1
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if NAME.fullmatch(self.name) is None:
            raise UsageError(f"name={self.name!r} must be letters, digits, dots, dashes and underscores")
        if not self.networks or len(set(self.networks)) != len(self.networks):
            raise UsageError(f"networks={list(self.networks)} must name at least one, and each only once")
        if self.recipe not in self.recipes:
            raise UsageError(f"recipe={self.recipe!r} must be one of {', '.join(self.recipes)}")
        for claim in self.claims:
            self._check(claim)

    def _check(self, claim: Claim) -> None:
        variants = tuple(map(str, self.variants))
        for name, value, known in (
            ("variant", claim.variant, variants),
            ("against", claim.against, variants),
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
        """The part of each network."""
        recipe = self.recipes[self.recipe]
        return {network: Comparison(network=network, recipe=recipe, **shared(self, Runs)) for network in self.networks}

    def changed(self, **changes: Any) -> StudyDefinition:
        """The same study with other values of what is not None: recipe, data, workers, threads."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def definition_of(comparison: Comparison, *, threads: int | None = None) -> StudyDefinition:
    """The study of one network that a command line asks for."""
    recipes = {"given": replace(comparison.recipe, source="the command line")}
    return StudyDefinition(
        name="compare", networks=(comparison.network,), recipe="given", recipes=recipes, threads=threads,
        **shared(comparison, Runs),
    )  # fmt: skip
