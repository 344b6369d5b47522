"""How much of a run's time a study spends on storing it: on its claim and its records, and on its checkpoints.

python benchmarks/study_overhead.py --out benchmarks/results/study-overhead.json [--study digits] [--variant het-pc]

One run of a study is done as a worker does it, after all of the study's other runs, so that the folder is full; every
call that stores is timed. The default is the shipped study's fastest run, of which storing takes the largest share.
"""

from __future__ import annotations

import argparse
import contextlib
import pkgutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from hetconv.cost.circumstances import circumstances
from hetconv.lab.results import Epoch, Run
from hetconv.lab.settings import RunKey, StudyDefinition, load_definition
from hetconv.lab.study import open_study
from hetconv.lab.variant import parse_variant
from hetconv.records import Circumstances, Record, save_record

STORING = {
    "hetconv.lab.study.attempts.RunFolder.claim": "claims",
    "hetconv.lab.study.attempts.RunFolder.settle": "claims",
    "hetconv.lab.study.attempts.RunFolder.ended": "records",
    "hetconv.lab.study.attempts.Attempt.owns": "claims",
    "hetconv.lab.study.attempts.save_record": "records",
    "hetconv.lab.study.one_run.save_record": "records",
    "hetconv.lab.study.store.save_record": "records",
    "hetconv.lab.train.loop.save_checkpoint": "checkpoints",
}
"""Every function that stores or reads what is stored; none calls another."""


@dataclass(frozen=True)
class Overhead(Record):
    """Seconds of one run from its claim to its record in results.json, and of the calls in it that store.

    `share` is that of claims and records in the run's seconds, `share_with_checkpoints` that of all three.
    `calls` says how often each was called.
    """

    circumstances: Circumstances
    study: str
    variant: str
    seed: int
    epochs: int
    runs_in_study: int
    run_seconds: float
    storing_seconds: dict[str, float]
    calls: dict[str, int]
    share: float
    share_with_checkpoints: float


def watched(call: Callable[..., Any], kind: str, spent: Counter[str], calls: Counter[str]) -> Callable[..., Any]:
    def timed_call(*given: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return call(*given, **named)
        finally:
            spent[kind] += time.perf_counter() - begin
            calls[kind] += 1

    return timed_call


@contextlib.contextmanager
def timed(spent: Counter[str], calls: Counter[str]) -> Iterator[None]:
    """Add up what the storing functions take."""
    with contextlib.ExitStack() as stack:
        for name, kind in STORING.items():
            stack.enter_context(patch(name, watched(pkgutil.resolve_name(name), kind, spent, calls)))
        yield


def measure(definition: StudyDefinition, variant: str, folder: Path) -> Overhead:
    """Do the last of a study's runs."""
    study = open_study(replace(definition, latency_samples=1), folder)
    chosen = RunKey(definition.networks[0], parse_variant(variant), definition.seeds[-1])
    epochs = definition.recipes[definition.recipe].epochs
    made_up = tuple(Epoch(number, 0.1, 1.0, 1.0, 0.5, 1.0) for number in range(1, epochs + 1))
    store = study.networks[chosen.network].store
    for key in definition.run_keys():
        if key != chosen:
            save_record(Run(key.variant.spec, key.seed, "done", made_up), store.run(key.variant.spec, key.seed).record)
    spent, calls = Counter[str](), Counter[str]()
    with timed(spent, calls):
        begin = time.perf_counter()
        study.work()
        seconds = time.perf_counter() - begin
    run = store.run(variant, chosen.seed).ended()
    if run is None or run.state != "done":
        raise SystemExit(f"the run has not ended well: {run}")
    storing = {kind: round(spent[kind], 4) for kind in sorted(spent)}
    share = (spent["claims"] + spent["records"]) / seconds
    return Overhead(
        circumstances(torch.device("cpu"), "float32", "channels_last", 1, torch.get_num_threads()), definition.name,
        variant, chosen.seed, epochs, len(definition.run_keys()), round(seconds, 2), storing, dict(calls),
        round(share, 5), round(share + spent["checkpoints"] / seconds, 5),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    parser.add_argument("--study", default="digits", help="of one network: a TOML file or a shipped study")
    parser.add_argument("--variant", default="het-pc")
    parser.add_argument("--folder", type=Path, help="on which disk; a temporary folder without")
    options = parser.parse_args()
    definition = load_definition(options.study)
    if options.variant not in definition.variants:
        parser.error(f"--variant={options.variant} must be one of {', '.join(definition.variants)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(definition, options.variant, Path(folder))
    save_record(found, options.out)
    print(
        f"{found.share:.2%} of {found.run_seconds:.1f} s, with checkpoints {found.share_with_checkpoints:.2%}: "
        f"{found.storing_seconds}"
    )


if __name__ == "__main__":
    main()
