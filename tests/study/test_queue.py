import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hetconv.records import Epoch, Run
from hetconv.study.owner import Owner, is_known_dead, this_process
from hetconv.study.queue import FRUITLESS, Claim, Queue, RunKey
from hetconv.study.sqlite import sqlite_url
from hetconv.study.storage import Trials, open_storage

KEYS = [RunKey("net", variant, seed) for seed in (0, 1) for variant in ("dense", "het-p4")]
EPOCHS = (Epoch(1, 0.1, 2.0, 2.0, 0.5, 1.0),)


def done(key: RunKey) -> Run:
    return Run(key.variant, key.seed, "done", EPOCHS)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "study.db")


def queue(url: str, clock: Clock | None = None, host: str | None = None) -> Queue:
    """A queue of another connection, and where `host` is given, as of another machine's process."""
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    storage = open_storage(url)
    try:
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "test")
    except DuplicatedStudyError:
        study_id = storage.get_study_id_from_name("test")
    made = Queue(Trials(storage, study_id), grace_s=60, clock=time.monotonic if clock is None else clock)
    if host is not None:
        made.owner = Owner(host, 1, "another boot", "1")
    return made


def take(one: Queue) -> Claim:
    claim = one.claim()
    assert claim is not None
    return claim


def test_runs_are_claimed_in_order_and_end(url: str) -> None:
    one = queue(url)
    one.add(KEYS)
    one.add(KEYS)
    assert [status.state for status in one.statuses().values()] == ["waiting"] * 4
    for key in KEYS:
        claim = take(one)
        assert claim.key == key
        assert one.finish(claim, done(key))
    assert one.claim() is None
    assert one.is_ended()
    assert [status.run for status in one.statuses().values()] == [done(key) for key in KEYS]


def test_many_at_once_never_claim_the_same_run(url: str) -> None:
    """Six connections add the same runs and claim as fast as they can; SQLite by itself would let two have one."""
    keys = [RunKey("net", "dense", seed) for seed in range(6)]
    queues = [queue(url) for _ in range(6)]

    def all_of(one: Queue) -> list[RunKey]:
        one.add(keys)
        found = []
        while (claim := one.claim()) is not None:
            found.append(claim.key)
        return found

    with ThreadPoolExecutor(6) as pool:
        claimed = [key for found in pool.map(all_of, queues) for key in found]
    assert sorted(claimed, key=str) == sorted(keys, key=str)


def test_a_dead_process_run_is_taken_at_once(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:1])
    take(one)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    trial = one.trials.all()[0]._trial_id
    alive = replace(this_process(), pid=child.pid, started=Path(f"/proc/{child.pid}/stat").read_text().split()[21])
    one.trials.set_attribute(trial, "owner", alive.as_attribute())
    other = queue(url)
    assert other.claim() is None
    child.kill()
    child.wait()
    assert is_known_dead(alive)
    assert take(other) == Claim(KEYS[0], other.trials.all()[1]._trial_id, 2)


def test_a_later_process_of_the_same_number_is_another(url: str) -> None:
    assert is_known_dead(replace(this_process(), started="1"))
    assert not is_known_dead(this_process())
    assert not is_known_dead(replace(this_process(), machine="another", started="1"))
    assert not is_known_dead(Owner("somewhere", 1))


def test_another_machines_run_is_taken_when_its_heart_stands_still(url: str) -> None:
    clock = Clock()
    remote, here = queue(url, host="remote"), queue(url, clock)
    remote.add(KEYS[:1])
    claim = take(remote)
    for beat in range(1, 40):
        assert remote.beat(claim, beat)
        assert here.claim() is None
        clock.now += 4
    for _ in range(15):
        assert here.claim() is None
        clock.now += 4
    clock.now += 4
    assert take(here).attempt == 2
    assert not remote.beat(claim, 99)
    assert not remote.reached(claim, 1, 0.5)
    assert not remote.finish(claim, done(KEYS[0]))
    assert here.statuses()[KEYS[0]].state == "running"


def test_a_database_that_was_gone_makes_nobody_dead(url: str) -> None:
    """Between two looks an hour passed, in which nobody could write a beat: only a little of it counts."""
    clock = Clock()
    remote, here = queue(url, host="remote"), queue(url, clock)
    remote.add(KEYS[:1])
    take(remote)
    assert here.claim() is None
    clock.now += 3600
    assert here.claim() is None


@pytest.mark.parametrize("jump", [10**8, -(10**8)])
def test_a_jumping_clock_makes_nobody_dead_and_keeps_nobody_alive(
    url: str, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    clock = Clock()
    remote, here = queue(url, host="remote"), queue(url, clock)
    remote.add(KEYS[:1])
    take(remote)
    assert here.claim() is None
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    for _ in range(15):
        clock.now += 4
        assert here.claim() is None
    clock.now += 4
    assert take(here).attempt == 2


def test_what_is_given_up_is_taken_again(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:1])
    one.give_up(take(one), "the disk is full")
    assert one.statuses()[KEYS[0]].reason == "the disk is full"
    assert not one.is_ended()
    assert take(queue(url)).attempt == 2


def test_a_run_that_kills_every_process_ends_as_failed(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:2])
    for _ in range(FRUITLESS):
        claim = take(one)
        assert claim.key == KEYS[0]
        one.give_up(claim, "its process died")
    assert take(one).key == KEYS[1]
    status = one.statuses()[KEYS[0]]
    assert status.state == "failed"
    assert f"died {FRUITLESS} times in a row after epoch 0" in status.reason
    one.retry_failed()
    assert take(one).key == KEYS[0]


def test_deaths_with_new_epochs_between_them_are_borne(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:1])
    for epoch in range(1, FRUITLESS + 2):
        claim = take(one)
        one.reached(claim, epoch, 0.5)
        one.give_up(claim, "its process died")
    assert one.statuses()[KEYS[0]].state == "waiting"


def test_a_network_is_compressed_when_its_training_has_ended(url: str) -> None:
    """Three workers, the compressed runs first: none trains the base a second time, and no other run waits for it."""
    base, other = RunKey("net", "dense", 0), RunKey("net", "het-p4-l1-50", 0)
    compressed = [RunKey("net", variant, 0) for variant in ("l1-50", "l1-30")]
    one, two, three = queue(url), queue(url), queue(url)
    one.add([*compressed, base, other])
    training = take(one)
    assert training.key == base
    assert take(two).key == other  # its own base is not part of this study
    assert three.claim() is None
    one.give_up(training, "the disk is full")
    assert three.claim() == (again := Claim(base, one.trials.all()[-1]._trial_id, 2))
    assert three.finish(again, done(base))
    assert [take(two).key, take(three).key] == compressed


def test_a_network_whose_training_failed_keeps_nobody_waiting(url: str) -> None:
    one = queue(url)
    one.add([RunKey("net", "l1-50", 0), RunKey("net", "dense", 0)])
    assert one.finish(take(one), Run("dense", 0, "failed", (), "the loss became nan"))
    assert take(one).key.variant == "l1-50"


def test_a_failed_run_is_kept_and_can_be_tried_again(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:1])
    claim = take(one)
    assert one.finish(claim, Run("dense", 0, "failed", (), "the loss became nan"))
    assert one.is_ended()
    assert one.statuses()[KEYS[0]].reason == "the loss became nan"
    one.retry_failed()
    assert take(one).attempt == 2


def test_a_result_written_by_a_process_that_died_before_ending_its_trial_counts(url: str) -> None:
    clock = Clock()
    remote, here = queue(url, host="remote"), queue(url, clock)
    remote.add(KEYS[:1])
    claim = take(remote)
    remote.trials.set_attribute(claim.trial_id, "run", '{"variant":"dense","seed":0,"state":"done","epochs":[]}')
    for _ in range(20):
        assert here.claim() is None
        clock.now += 5
    assert here.is_ended()
    assert here.statuses()[KEYS[0]].state == "done"


def test_a_duplicate_attempt_is_ignored(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:1])
    one.trials.add({"network": "net", "variant": "dense", "seed": 0, "attempt": 1})
    assert one.finish(take(one), done(KEYS[0]))
    assert one.claim() is None
    assert one.is_ended()


def test_runs_that_ended_elsewhere_are_added_once(url: str) -> None:
    one = queue(url)
    one.add(KEYS[:2])
    one.add_ended(KEYS[0], done(KEYS[0]))
    one.add_ended(KEYS[0], Run("dense", 0, "failed", (), "late"))
    one.add_ended(KEYS[3], done(KEYS[3]))
    states = {key: status.state for key, status in one.statuses().items()}
    assert states == {KEYS[0]: "done", KEYS[1]: "waiting", KEYS[3]: "done"}
