"""What a study has found so far, put together from its queue and its folders."""

from __future__ import annotations

from collections.abc import Mapping

from hetconv.records import Results, Run, StudyResults, StudySettings, save_record
from hetconv.study.definition import StudyDefinition
from hetconv.study.queue import RunKey, Status
from hetconv.study.store import Costs, Store


def network_results(
    network: str, settings: StudySettings, statuses: Mapping[RunKey, Status], store: Store, costs: Costs
) -> Results:
    """Everything found of one network, whichever process found it; written to its results.json as well."""
    found = (
        _run(statuses.get(RunKey(network, variant, seed)), store, variant, seed)
        for variant in settings.variants
        for seed in settings.seeds
    )
    results = Results(settings, costs.circumstances, tuple(run for run in found if run is not None), costs.costs)
    store.save_results(results)
    return results


def study_results(definition: StudyDefinition, networks: Mapping[str, Results], store: Store) -> StudyResults:
    """The whole study; written to study-results.json in its folder."""
    results = StudyResults(
        definition.name, definition.title, tuple(networks.values()), definition.claims,
        definition.recipes[definition.recipe].source, definition.text,
    )  # fmt: skip
    save_record(results, store.folder / "study-results.json")
    return results


def _run(status: Status | None, store: Store, variant: str, seed: int) -> Run | None:
    """An ended run as the queue knows it, else what its folder has of it."""
    if status is not None and status.run is not None:
        return status.run
    return store.load_run(variant, seed)
