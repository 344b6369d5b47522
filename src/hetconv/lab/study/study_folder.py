"""A study in a folder: opened, costed, its runs done, and its results put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from hetconv.errors import DamagedFileError, UsageError
from hetconv.files import remove_leftovers
from hetconv.lab.results import Results, StudyResults, StudySettings
from hetconv.lab.settings import Comparison, RunKey, StudyDefinition, definition_of
from hetconv.lab.study.costs import complete_costs, known_costs
from hetconv.lab.study.network_study import NetworkStudy, data_of
from hetconv.lab.study.owner import Owner
from hetconv.lab.study.progress import CompareProgress
from hetconv.lab.study.store import Costs, Store, keep_silent, union
from hetconv.lab.study.team import launched_team
from hetconv.lab.study.worker import Worker
from hetconv.lab.train.checkpoint import read_header
from hetconv.records import save_record

FILE = "definition.json"
"""The definition of the study, for processes that are only told its folder."""
State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class Status:
    """How a run stands. `epochs_done` is what has been stored; `reason` is why it failed, or was given up last."""

    state: State
    epochs_done: int = 0
    attempts: int = 0
    owner: Owner | None = None
    reason: str = ""


@dataclass(frozen=True)
class Study:
    """An open study: this process can see how it stands, and work for it.

    `settings` is all that the folder holds of each network, which may be more than `definition` asks for.
    """

    definition: StudyDefinition
    folder: Path
    networks: Mapping[str, NetworkStudy]
    settings: Mapping[str, StudySettings]
    progress: CompareProgress

    def work(self, threads: int | None = None, *, only: RunKey | None = None) -> None:
        """Do runs until every one has ended, with so many of PyTorch's threads (None: as the study says).

        Under a launcher this is for its first process; the others call `follow`.

        Args:
            only: work for this run alone.
        """
        keys = self.definition.run_keys() if only is None else (only,)
        for key in keys:
            network = self.networks[key.network]
            if network.store.run(key.variant.spec, key.seed).has_ended():
                epochs = network.comparison.recipe.epochs
                self.progress.run(key.variant.spec, key.seed, epochs, epochs)
        threads = self.definition.threads if threads is None else threads
        if threads is not None:
            torch.set_num_threads(threads)
        team = launched_team()
        if team.of > 1 and any(network.comparison.compressed for network in self.networks.values()):
            raise UsageError(f"{team.of} processes train each run; variants that are compressed need one process a run")
        team.share((self.definition, threads))
        Worker(keys, self.networks, self.progress, self._save, team).work()

    def reopen(self, *, failed: bool = False, without_weights: bool = False) -> None:
        """Let runs be done again: those that failed, or those whose weights are gone or damaged."""
        for key, network in self._each():
            folder = network.store.run(key.variant.spec, key.seed)
            run = folder.ended()
            if run is not None and failed and run.state == "failed":
                folder.reopen()
            if run is not None and without_weights and run.state == "done" and run.compression is None:
                why = _why_no_weights(folder.checkpoint)
                if why is not None:
                    self.progress.notice(f"{key}: its weights are gone ({why}); it is trained again")
                    folder.reopen()

    def results(self) -> StudyResults:
        """Everything found so far, by any process; results.json and study-results.json are brought up to date."""
        found = []
        for name, network in self.networks.items():
            with Store(self.folder, self.progress.notice).locked():
                costs = complete_costs(network.holding(self.settings[name]), self.progress)
            found.append(self._network_results(name, costs))
        definition = self.definition
        results = StudyResults(
            definition.name, definition.title, tuple(found), definition.claims,
            definition.recipes[definition.recipe].source, definition.text,
        )  # fmt: skip
        save_record(results, self.folder / "study-results.json")
        return results

    def _save(self, name: str) -> None:
        costs = self.networks[name].store.load_costs()
        if costs is not None:
            self._network_results(name, costs)

    def _network_results(self, name: str, costs: Costs) -> Results:
        """Everything found of one network, whichever process found it; written to its results.json as well."""
        store, settings = self.networks[name].store, self.settings[name]
        results = Results(settings, costs.circumstances, store.runs(settings), costs.costs)
        store.save_results(results)
        return results

    def _each(self) -> Iterator[tuple[RunKey, NetworkStudy]]:
        return ((key, self.networks[key.network]) for key in self.definition.run_keys())


def compare(
    comparison: Comparison,
    folder: Path,
    progress: CompareProgress | None = None,
    *,
    threads: int | None = None,
    weights: bool = False,
) -> Results:
    """Run a comparison, which is a study of one network, in a folder, going on from whatever is there already.

    Variants are costed first, then trained; results.json is brought up to date after each run. Finished runs are not
    trained again; an unfinished one goes on from its last stored epoch. A run whose loss is no longer
    finite is kept as failed, with the reason, and the others go on.

    Args:
        weights: train a finished run again if its weights are gone or damaged; its record is enough without.

    Raises:
        UsageError: a name is wrong, or the folder holds another study.
        HetconvError: something could not be written; what was written before stands.
    """
    study = open_study(definition_of(comparison, threads=threads), folder, progress)
    study.reopen(without_weights=weights)
    study.work()
    return study.results().networks[0]


def open_study(
    definition: StudyDefinition, folder: Path, progress: CompareProgress | None = None, *, costs: bool = True
) -> Study:
    """Make a study in a folder, or open it to go on with; variants and seeds may be added to it.

    Everything is checked before anything is written. Variants are costed first, by one process, before any is trained,
    so that training does not disturb the clock.

    Args:
        costs: whether to cost the variants, where that is not done yet.

    Raises:
        UsageError: a name is wrong, or the folder holds another study.
        HetconvError: something could not be written; what was written before stands.
    """
    progress = CompareProgress() if progress is None else progress
    comparisons = definition.comparisons()
    data = data_of(next(iter(comparisons.values())))
    root = Store(folder, progress.notice)
    networks = {
        name: NetworkStudy(comparison, data, Store(_network_folder(folder, definition, name), progress.notice))
        for name, comparison in comparisons.items()
    }
    for network in networks.values():
        network.check()
    asked = {name: network.settings() for name, network in networks.items()}
    with root.locked():
        if definition.threads is not None:
            torch.set_num_threads(definition.threads)
        stored = root.load(StudyDefinition, folder / FILE)
        _check_same(stored, definition, folder)
        for name, network in networks.items():
            network.store.check(asked[name])
        remove_leftovers(folder)
        settings = {name: network.store.open(asked[name]) for name, network in networks.items()}
        joined = _joined(stored, definition)
        if joined != stored:
            save_record(joined, folder / FILE)
        for name, network in networks.items():
            _mend_runs(network.store, settings[name])
            if costs:
                known_costs(network.holding(settings[name]), progress)
    return Study(definition, folder, networks, settings, progress)


def join_study(folder: Path, progress: CompareProgress | None = None) -> Study:
    """Open a study that was made before, as its folder describes it.

    Raises:
        UsageError: there is no study there.
    """
    progress = CompareProgress() if progress is None else progress
    definition = Store(folder, progress.notice).load(StudyDefinition, folder / FILE)
    if definition is None:
        raise UsageError(f"looked for the study {folder / FILE}; it is not there. `hetconv study run` makes one")
    return open_study(definition, folder, progress, costs=False)


def definition_in(folder: Path, asked: StudyDefinition) -> StudyDefinition:
    """A study's definition as its folder has it: with the recipe, data, variants and seeds that it was run with.

    Raises:
        UsageError: the study is not in this folder.
    """
    store = Store(_network_folder(folder, asked, asked.networks[0]))
    if not store.settings.exists():
        raise UsageError(f"looked for the study {store.settings}; it is not there. `hetconv study run` makes one")
    stored = Store(folder).load(StudyDefinition, folder / FILE)
    _check_same(stored, asked, folder)
    return asked if stored is None else stored


def statuses(
    definition: StudyDefinition, folder: Path, notice: Callable[[str], None] = keep_silent
) -> dict[RunKey, Status]:
    """How every run stands, from the folder alone. `notice` is told of a damaged record that was set aside."""
    return {
        key: _status(Store(_network_folder(folder, definition, key.network), notice), key.variant.spec, key.seed)
        for key in definition.run_keys()
    }


def _status(store: Store, variant: str, seed: int) -> Status:
    folder = store.run(variant, seed)
    run = folder.ended()
    if run is not None:
        return Status("failed" if run.state == "failed" else "done", len(run.epochs), reason=run.error or "")
    attempts = folder.attempts()
    if not attempts:
        return Status("waiting")
    last = attempts[-1]
    state: State = "waiting" if last.owner is None else "running"
    return Status(state, len(last.progress.epochs), len(attempts), last.owner, last.reason)


def _mend_runs(store: Store, settings: StudySettings) -> None:
    """Set damaged records aside, and finish what a process began that was killed after it had published."""
    for variant in settings.variants:
        for seed in settings.seeds:
            folder = store.run(variant, seed)
            if folder.ended() is not None:
                folder.settle()


def _network_folder(folder: Path, definition: StudyDefinition, network: str) -> Path:
    """A study of one network has it in its own folder, one of more in a folder each."""
    return folder if len(definition.networks) == 1 else folder / network.replace(":", ".").replace("/", ".")


def _check_same(stored: StudyDefinition | None, asked: StudyDefinition, folder: Path) -> None:
    """That the folder is this study's; study.json says whether its settings are the same."""
    if stored is None or (stored.name, stored.networks) == (asked.name, asked.networks):
        return
    if stored.name != asked.name:
        what = f"the study {stored.name!r}, not {asked.name!r}"
    else:
        what = f"a study of {', '.join(stored.networks)}, not of {', '.join(asked.networks)}"
    raise UsageError(f"{folder} holds {what}. Give another folder with --out")


def _joined(stored: StudyDefinition | None, asked: StudyDefinition) -> StudyDefinition:
    """What is asked for now, with the variants and seeds that were asked for before."""
    if stored is None:
        return asked
    return replace(asked, variants=union(stored.variants, asked.variants), seeds=union(stored.seeds, asked.seeds))


def _why_no_weights(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be read; None if it is whole."""
    try:
        read_header(checkpoint)
    except (UsageError, DamagedFileError) as error:
        return str(error)
    return None
