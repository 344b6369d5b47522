"""A study in a folder: opened, costed, its runs queued, and its results put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hetconv.errors import UsageError
from hetconv.files import remove_leftovers
from hetconv.records import StudyResults, StudySettings
from hetconv.study.costs import complete_costs, known_costs
from hetconv.study.definition import StudyDefinition
from hetconv.study.progress import CompareProgress
from hetconv.study.queue import Queue, RunKey, Status
from hetconv.study.results import network_results, study_results
from hetconv.study.shared import join_definition, share_definition
from hetconv.study.sqlite import mend_sqlite, sqlite_url
from hetconv.study.storage import Trials, open_storage, patiently
from hetconv.study.store import Store
from hetconv.study.team import launched_team
from hetconv.study.worker import Part, work
from hetconv.train import Data

FILE = "study.db"


@dataclass(frozen=True)
class Study:
    """An open study: this process can see how it stands, and work for it."""

    definition: StudyDefinition
    folder: Path
    queue: Queue
    parts: dict[str, Part]
    settings: dict[str, StudySettings]
    progress: CompareProgress

    @property
    def store(self) -> Store:
        return Store(self.folder, self.progress.notice)

    def statuses(self) -> dict[RunKey, Status]:
        return self.queue.statuses()

    def work(self, threads: int | None = None) -> None:
        """Do runs until every one has ended, with so many of PyTorch's threads (None: as the study says).

        Under a launcher this is for its first process; the others call `follow`.
        """
        for key, status in self.statuses().items():
            if status.run is not None and key.network in self.parts:
                epochs = self.parts[key.network].comparison.recipe.epochs
                self.progress.run(key.variant, key.seed, epochs, epochs)
        threads = self.definition.threads if threads is None else threads
        if threads is not None:
            torch.set_num_threads(threads)
        team = launched_team()
        if team.of > 1 and any(part.comparison.compressed for part in self.parts.values()):
            raise UsageError(f"{team.of} processes train each run; variants that are compressed need one process a run")
        team.share((self.definition, threads))
        work(self.queue, self.parts, self.progress, self._save, team=team)

    def results(self) -> StudyResults:
        """Everything found so far, by any process; results.json and study-results.json are brought up to date."""
        statuses = self.statuses()
        found = {}
        for network, part in self.parts.items():
            with self.store.locked():
                costs = complete_costs(part, self.settings[network], self.progress)
            found[network] = network_results(network, self.settings[network], statuses, part.store, costs)
        return study_results(self.definition, found, self.store)

    def _save(self, network: str) -> None:
        part = self.parts[network]
        costs = part.store.load_costs()
        if costs is not None:
            network_results(network, self.settings[network], self.statuses(), part.store, costs)


def open_study(
    definition: StudyDefinition,
    folder: Path,
    progress: CompareProgress | None = None,
    *,
    storage: str | None = None,
    costs: bool = True,
) -> Study:
    """Make a study in a folder, or open it to go on with; variants and seeds may be added to it.

    Variants are costed first, by one process, before any is trained, so that training does not disturb the clock.

    Args:
        storage: the address of a database that many machines share; a SQLite file in the folder without.
        costs: whether to cost the variants, where that is not done yet.

    Raises:
        UsageError: a name is wrong, or the folder or the database holds another study under this name.
        HetconvError: something could not be written; what was written before stands.
    """
    progress = CompareProgress() if progress is None else progress
    loaded: dict[str, Data] = {}
    for network, comparison in definition.comparisons().items():
        loaded[network] = next(iter(loaded.values())) if loaded else comparison.load_data()
        comparison.check_classifies(loaded[network])
    root = Store(folder, progress.notice)
    with root.locked():
        if definition.threads is not None:
            torch.set_num_threads(definition.threads)
        parts = {
            network: Part(comparison, loaded[network], Store(_folder(folder, definition, network), progress.notice))
            for network, comparison in definition.comparisons().items()
        }
        asked = {network: part.comparison.settings(part.data) for network, part in parts.items()}
        for network, part in parts.items():
            part.store.check(asked[network])
        queue = Queue(_trials(definition, folder, storage, progress))
        remove_leftovers(folder)
        settings = {network: part.store.open(asked[network]) for network, part in parts.items()}
        queue.add(
            RunKey(network, variant, seed)
            for seed in definition.seeds
            for network in definition.networks
            for variant in definition.variants
        )
        _join_records(queue, parts, settings)
        for network, part in parts.items() if costs else ():
            known_costs(part, settings[network], progress)
    return Study(definition, folder, queue, parts, settings, progress)


def _folder(folder: Path, definition: StudyDefinition, network: str) -> Path:
    """A study of one network has it in its own folder, one of more in a folder each."""
    return folder if len(definition.networks) == 1 else folder / network.replace(":", ".").replace("/", ".")


def join_study(
    folder: Path, progress: CompareProgress | None = None, *, storage: str | None = None, name: str | None = None
) -> Study:
    """Open a study that was made before, as its storage describes it.

    Args:
        name: which study of the database; may be left out where there is only one.

    Raises:
        UsageError: there is no study there.
    """
    progress = CompareProgress() if progress is None else progress
    if storage is None:
        if not (folder / FILE).exists():
            raise UsageError(f"looked for the study {folder / FILE}; it is not there. `hetconv study run` makes one")
        mend_sqlite(folder / FILE, progress.notice)
    url = sqlite_url(folder / FILE) if storage is None else storage
    opened = open_storage(url)
    definition = patiently(lambda: join_definition(opened, name, url), progress.notice)
    return open_study(definition, folder, progress, storage=storage, costs=False)


def _trials(definition: StudyDefinition, folder: Path, storage: str | None, progress: CompareProgress) -> Trials:
    """The study's trials in the storage, where it is made if it is not there yet."""
    if storage is None:
        mend_sqlite(folder / FILE, progress.notice)
    opened = open_storage(sqlite_url(folder / FILE) if storage is None else storage)
    alone = str(folder) if storage is None else None
    study_id = patiently(lambda: share_definition(opened, definition, alone), progress.notice)
    return Trials(opened, study_id, progress.notice)


def _join_records(queue: Queue, parts: dict[str, Part], settings: dict[str, StudySettings]) -> None:
    """Bring the folders' records of ended runs and the storage together, where one of them was lost."""
    statuses = queue.statuses()
    for network, part in parts.items():
        for variant in settings[network].variants:
            for seed in settings[network].seeds:
                key = RunKey(network, variant, seed)
                run, known = part.store.load_run(variant, seed), statuses[key].run if key in statuses else None
                if known is not None and known != run:
                    part.store.save_run(known)
                elif known is None and run is not None and run.state != "running":
                    queue.add_ended(key, run)
