"""Which run a worker takes next."""

from pathlib import Path
from typing import Any, cast

from hetconv.lab.results import Run
from hetconv.lab.settings import RunKey
from hetconv.lab.study import CompareProgress, Store
from hetconv.lab.study.attempts import FRUITLESS, LEASE, Lease
from hetconv.lab.study.network_study import NetworkStudy
from hetconv.lab.study.owner import Owner, this_process
from hetconv.lab.study.worker import Worker
from hetconv.lab.variant import parse_variant
from hetconv.records import save_record


def key(variant: str, seed: int = 0) -> RunKey:
    return RunKey("net", parse_variant(variant), seed)


BASE, OTHER = key("dense"), key("het-p4-l1-50")
COMPRESSED = (key("l1-50"), key("l1-30"))


class Notes(CompareProgress):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def worker(folder: Path, keys: tuple[RunKey, ...]) -> Worker:
    nothing = cast(Any, None)
    return Worker(keys, {"net": NetworkStudy(nothing, nothing, Store(folder))}, Notes(), lambda _: None)


def take(one: Worker) -> RunKey | None:
    found = one._claim()
    return None if found is None else found[0]


def end(folder: Path, key: RunKey, state: Any = "done") -> None:
    save_record(Run(key.variant.spec, key.seed, state), Store(folder).run(key.variant.spec, key.seed).record)


def test_runs_are_taken_in_order_and_each_by_one(tmp_path: Path) -> None:
    keys = tuple(key(variant, seed) for seed in (0, 1) for variant in ("dense", "het-p4"))
    one, two = worker(tmp_path, keys), worker(tmp_path, keys)
    assert [take(one), take(two), take(one), take(two), take(one)] == [*keys, None]


def test_a_network_is_compressed_when_its_training_has_ended(tmp_path: Path) -> None:
    """The compressed runs are named first: none trains the base a second time, and no other run waits for it."""
    keys = (*COMPRESSED, BASE, OTHER)
    one, two, three = (worker(tmp_path, keys) for _ in range(3))
    assert take(one) == BASE
    assert take(two) == OTHER  # its own base is not part of this study
    assert take(three) is None
    end(tmp_path, BASE)
    assert (take(two), take(three)) == COMPRESSED


def test_a_network_whose_training_failed_keeps_nobody_waiting(tmp_path: Path) -> None:
    one = worker(tmp_path, (COMPRESSED[0], BASE))
    assert take(one) == BASE
    end(tmp_path, BASE, "failed")
    assert take(one) == COMPRESSED[0]


def test_a_run_that_kills_every_process_ends_as_failed(tmp_path: Path) -> None:
    one = worker(tmp_path, (BASE,))
    folder = Store(tmp_path).run("dense", 0)
    for _ in range(FRUITLESS):
        attempt = folder.claim(one.watcher)
        assert attempt is not None
        here = this_process()
        save_record(Lease(Owner(here.host, here.pid, here.machine, "1"), attempt.token), attempt.folder / LEASE)
    one.work()
    run = folder.ended()
    assert run is not None
    assert run.state == "failed"
    assert run.error == f"its process died {FRUITLESS} times in a row after epoch 0; see what kills it (memory?)"
    folder.reopen()
    assert take(one) == BASE


def test_the_task_of_a_cluster_takes_over_from_its_own_earlier_process(tmp_path: Path) -> None:
    """On whichever machine that was: the cluster starts a task again only when it has died."""
    from hetconv.lab.study.owner import TASK

    one = worker(tmp_path, (BASE,))
    attempt = Store(tmp_path).run("dense", 0).claim(one.watcher)
    assert attempt is not None
    save_record(Lease(Owner("remote", 1, "another boot", "1", "task 7"), attempt.token), attempt.folder / LEASE)
    assert take(one) is None
    token = TASK.set("task 7")
    try:
        assert take(one) == BASE
    finally:
        TASK.reset(token)
