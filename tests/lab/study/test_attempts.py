import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hetconv.errors import HetconvError
from hetconv.lab.results import Epoch, Run
from hetconv.lab.study import attempts
from hetconv.lab.study.attempts import LEASE, RECORD, Attempt, Lease, Renewal, RunFolder, Watcher
from hetconv.lab.study.owner import Owner, is_known_dead, this_process
from hetconv.records import load_record, save_record

EPOCHS = (Epoch(1, 0.1, 2.0, 2.0, 0.5, 1.0),)
DONE = Run("dense", 0, "done", EPOCHS)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "dense" / "seed-0", lambda text: pytest.fail(text))


def claim(folder: RunFolder, watcher: Watcher | None = None) -> Attempt:
    found = folder.claim(Watcher() if watcher is None else watcher)
    assert found is not None
    return found


def owned_by(attempt: Attempt, owner: Owner) -> None:
    save_record(Lease(owner, attempt.token), attempt.folder / LEASE)


def elsewhere(attempt: Attempt) -> Attempt:
    """The same attempt as if a process of another machine had begun it."""
    owned_by(attempt, Owner("remote", 1, "another boot", "1"))
    return attempt


def dead(attempt: Attempt) -> None:
    owned_by(attempt, replace(this_process(), started="1"))


def stored(attempt: Attempt, content: str, epochs: tuple[Epoch, ...] = EPOCHS) -> None:
    attempt.folder.mkdir(parents=True, exist_ok=True)
    attempt.checkpoint.write_text(content)
    save_record(Run("dense", 0, "running", epochs), attempt.folder / RECORD)


def wait_out(folder: RunFolder, watcher: Watcher, clock: Clock) -> None:
    """Watch a lease that is not renewed until just before it may be taken over."""
    for _ in range(16):
        assert folder.claim(watcher) is None
        clock.now += 4


def test_a_run_is_claimed_published_and_then_ended(folder: RunFolder) -> None:
    one = claim(folder)
    assert folder.claim(Watcher()) is None
    stored(one, "weights")
    assert folder.progress() == Run("dense", 0, "running", EPOCHS)
    assert one.publish(DONE)
    assert folder.ended() == DONE
    assert folder.checkpoint.read_text() == "weights"
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint.safetensors", "run.json"]
    assert folder.claim(Watcher()) is None


def test_of_many_at_once_one_begins_each_attempt(folder: RunFolder) -> None:
    for number in (1, 2, 3):
        with ThreadPoolExecutor(8) as pool:
            begun = [attempt for attempt in pool.map(lambda _: folder.claim(Watcher()), range(8)) if attempt]
        assert [attempt.number for attempt in begun] == [number]
        begun[0].give_up("the disk is full")


@pytest.mark.parametrize("step", ["link", "rename", "flush"])
def test_who_begins_while_the_run_ends_and_is_settled_begins_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = claim(folder)
    stored(first, "weights")

    def after_the_end(original):
        def call(*args, **kwargs):
            monkeypatch.undo()
            monkeypatch.setattr(Attempt, "owns", lambda self: True)  # it looked before the other one began
            assert first.publish(DONE)
            folder.settle()
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(Watcher, "is_abandoned", lambda self, attempt: True)
    owner, name = {"link": (os, "link"), "rename": (Path, "rename"), "flush": (attempts, "flush_folder")}[step]
    monkeypatch.setattr(owner, name, after_the_end(getattr(owner, name)))
    assert folder.claim(Watcher()) is None
    assert folder.ended() == DONE
    assert folder.checkpoint.read_text() == "weights"
    assert folder.attempts() == []


def test_of_many_results_the_first_counts(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where each of them believes that it owns the run, as between a look and a step."""
    first = claim(folder)
    dead(first)
    second = claim(folder)
    monkeypatch.setattr(Attempt, "owns", lambda self: True)
    stored(second, "second")
    assert second.publish(DONE)
    stored(first, "first")
    assert not first.publish(Run("dense", 0, "failed", (), "late"))
    assert folder.ended() == DONE
    assert folder.checkpoint.read_text() == "second"
    folder.settle()
    assert folder.attempts() == []
    assert folder.checkpoint.read_text() == "second"


def test_who_was_taken_for_dead_and_comes_back_changes_nothing(folder: RunFolder) -> None:
    clock = Clock()
    watcher = Watcher(60, clock)
    asleep = elsewhere(claim(folder))
    stored(asleep, "epoch 1")
    wait_out(folder, watcher, clock)
    second = claim(folder, watcher)
    assert second.checkpoint.read_text() == "epoch 1"
    assert second.progress.epochs == EPOCHS
    assert not asleep.owns()
    assert not asleep.renew()
    assert not asleep.publish(Run("dense", 0, "failed", (), "late"))
    asleep.give_up("late")
    asleep.checkpoint.write_text("late")  # between its look and its step
    assert second.owns()
    assert second.checkpoint.read_text() == "epoch 1"
    stored(second, "epoch 2")
    assert second.publish(DONE)
    stored(asleep, "later still")
    assert not asleep.publish(Run("dense", 0, "failed", (), "later still"))
    folder.settle()
    assert folder.ended() == DONE
    assert folder.checkpoint.read_text() == "epoch 2"


def test_an_attempt_of_the_same_number_at_another_time_is_another(folder: RunFolder) -> None:
    asleep = claim(folder)
    dead(asleep)
    assert claim(folder).publish(DONE)
    folder.reopen()
    again = claim(folder)
    assert again.number == asleep.number
    assert not asleep.owns()
    assert again.owns()


def test_a_dead_process_run_is_taken_at_once(folder: RunFolder) -> None:
    one = claim(folder)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    alive = replace(this_process(), pid=child.pid, started=Path(f"/proc/{child.pid}/stat").read_text().split()[21])
    owned_by(one, alive)
    assert folder.claim(Watcher()) is None
    child.kill()
    child.wait()
    assert is_known_dead(alive)
    assert claim(folder).number == 2


def test_a_later_process_of_the_same_number_is_another() -> None:
    assert is_known_dead(replace(this_process(), started="1"))
    assert not is_known_dead(this_process())
    assert not is_known_dead(replace(this_process(), machine="another", started="1"))
    assert not is_known_dead(Owner("somewhere", 1))


def test_a_lease_that_is_renewed_is_kept(folder: RunFolder) -> None:
    clock = Clock()
    watcher = Watcher(60, clock)
    remote = elsewhere(claim(folder))
    for second in range(1, 40):
        assert remote.renew()
        os.utime(remote.folder / LEASE, (second, second))  # whatever its machine's clock says
        assert folder.claim(watcher) is None
        clock.now += 4
    assert remote.renew()
    wait_out(folder, watcher, clock)
    assert claim(folder, watcher).number == 2


def test_a_watcher_that_slept_believes_nobody_dead(folder: RunFolder) -> None:
    """Between two looks an hour passed: only a little of it counts."""
    clock = Clock()
    watcher = Watcher(60, clock)
    elsewhere(claim(folder))
    assert folder.claim(watcher) is None
    clock.now += 3600
    assert folder.claim(watcher) is None


@pytest.mark.parametrize("jump", [10**8, -(10**8)])
def test_a_jumping_clock_makes_nobody_dead_and_keeps_nobody_alive(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    clock = Clock()
    watcher = Watcher(60, clock)
    elsewhere(claim(folder))
    assert folder.claim(watcher) is None
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    wait_out(folder, watcher, clock)
    assert claim(folder, watcher).number == 2


def test_a_lease_is_renewed_while_the_run_is_done(folder: RunFolder) -> None:
    one = claim(folder)
    os.utime(one.folder / LEASE, (1, 1))
    renewed = one.folder / LEASE
    with Renewal(one, every_s=0.001):
        while renewed.stat().st_mtime == 1:
            time.sleep(0.001)
    os.utime(renewed, (1, 1))
    assert renewed.stat().st_mtime == 1


def test_what_is_given_up_is_taken_again(folder: RunFolder) -> None:
    one = claim(folder)
    stored(one, "epoch 1")
    one.give_up("the disk is full")
    assert one.reason == "the disk is full"
    assert not folder.is_running()
    again = claim(folder)
    assert (again.number, again.checkpoint.read_text()) == (2, "epoch 1")
    assert folder.is_running()


def test_deaths_without_a_new_epoch_are_counted(folder: RunFolder) -> None:
    first = claim(folder)
    stored(first, "epoch 1")
    dead(first)
    for expected in (0, 1, 2):
        attempt = claim(folder)
        assert folder.deaths(before=attempt) == expected
        dead(attempt)
    attempt = claim(folder)
    stored(attempt, "epoch 2", EPOCHS * 2)
    dead(attempt)
    attempt = claim(folder)
    assert folder.deaths(before=attempt) == 0
    attempt.give_up("Ctrl-C")
    assert folder.deaths(before=claim(folder)) == 0


def test_killed_after_it_was_published_it_is_settled_by_another(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = claim(folder)
    stored(one, "weights")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "settle", lambda self: None)
        assert one.publish(DONE)
    assert not folder.checkpoint.exists()
    folder.settle()
    folder.settle()
    assert folder.checkpoint.read_text() == "weights"
    assert folder.attempts() == []


def test_a_finished_attempt_that_was_not_published_is_gone_on_from(folder: RunFolder) -> None:
    one = claim(folder)
    stored(one, "weights")
    save_record(DONE, one.folder / RECORD)
    dead(one)
    assert folder.progress() == replace(DONE, state="running")
    again = claim(folder)
    assert again.checkpoint.read_text() == "weights"
    assert again.publish(DONE)
    assert folder.checkpoint.read_text() == "weights"


def test_a_record_alone_is_an_ended_run(folder: RunFolder) -> None:
    save_record(DONE, folder.record)
    assert folder.ended() == DONE
    assert folder.claim(Watcher()) is None


def test_a_reopened_run_goes_on_from_its_weights(folder: RunFolder) -> None:
    one = claim(folder)
    stored(one, "weights")
    one.publish(DONE)
    folder.reopen()
    folder.reopen()
    assert load_record(Run, folder.path / "run.json.before") == DONE
    assert claim(folder).checkpoint.read_text() == "weights"


@pytest.mark.parametrize("content", ["", "{}", '{"variant": "dense", "seed": 0, "state": "running", "epochs": []}'])
def test_a_damaged_record_is_set_aside(tmp_path: Path, content: str) -> None:
    said: list[str] = []
    folder = RunFolder(tmp_path, said.append)
    folder.record.write_text(content)
    assert folder.ended() is None
    assert f"{folder.record} is damaged" in said[0]
    assert (tmp_path / "run.json.damaged").read_text() == content
    assert claim(folder).number == 1


def test_a_damaged_lease_is_nobodys_until_it_has_stood_still(folder: RunFolder) -> None:
    one = claim(folder)
    (one.folder / LEASE).write_text("{")
    clock = Clock()
    watcher = Watcher(60, clock)
    assert not one.owns()
    wait_out(folder, watcher, clock)
    assert claim(folder, watcher).number == 2


def test_a_folder_that_knows_no_links_is_told_in_one_line(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    one = claim(folder)
    monkeypatch.setattr(attempts.os, "link", no_links)
    with pytest.raises(HetconvError, match=r"cannot write .*run.json: Operation not permitted; nothing is lost"):
        one.publish(DONE)
    assert not folder.has_ended()


def test_the_lease_says_who_does_the_run(folder: RunFolder) -> None:
    one = claim(folder)
    assert one.owner == this_process()
    assert json.loads((one.folder / LEASE).read_text())["owner"]["pid"] == os.getpid()
