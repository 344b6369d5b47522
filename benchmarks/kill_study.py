"""Kill a study's processes at random moments, and show that nothing is lost, done twice, or different in one bit.

python benchmarks/kill_study.py --kills 30 --out /tmp/killed [--study digits] [--workers 2] [--seed 0] [--ray]

The study is run once undisturbed by one worker, then by several with `kill -9` of a random one of its processes (the
one that starts the workers included) at random moments; what was killed is started again by `hetconv study run`. With
--ray it runs on a Ray cluster that is made for it on this machine, with as many nodes as workers, and Ray's own
processes are killed too. Of four kills three come a random time after something was stored, or else most would meet
processes that are only just starting. Where a study ends before all kills are done, it is begun once more in a new
folder. What was found is in kills.json, after each study.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from kill_where import Here, OnRay, Where
from safetensors.numpy import load_file

from hetconv.cost.circumstances import circumstances
from hetconv.records import Circumstances, Record, save_record

DEFAULT = """
name = "killed"
networks = ["resnet20_cifar"]
width = 0.25
variants = ["dense", "het-p4"]
seeds = [0, 1]
data = "digits"
train_limit = 64
recipe = "fast"
threads = 1
latency_samples = 2
[recipes.fast]
epochs = EPOCHS
batch_size = 32
"""


@dataclass(frozen=True)
class Kill(Record):
    """When a process was killed, in seconds from the beginning of its study; whether it was the `starter` of the
    workers, a `worker`, or on Ray the raylet of a `node` or of the `head`, or the `gcs`, which knows of all nodes; and
    whether something had been stored since the kill before."""

    seconds: float
    process: str
    stored: bool


@dataclass(frozen=True)
class Disturbed(Record):
    """A study that was disturbed until it had ended. `starts` counts how often the command was given, `takeovers` the
    attempts that went on from a dead process's; `twice` is what was trained again although it had been stored, or
    recorded again although it had ended."""

    seconds: float
    kills: tuple[Kill, ...]
    runs: int
    starts: int
    takeovers: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    different: tuple[str, ...]


@dataclass(frozen=True)
class Kills(Record):
    """All that is kept of it; `seed` draws the moments and the processes, `ray` is the version of Ray where it ran."""

    circumstances: Circumstances
    seed: int
    ray: str | None
    workers: int
    study: str
    undisturbed_seconds: float
    seconds: float
    kills: int
    takeovers: int
    runs_lost: int
    done_twice: int
    equal_bits: bool
    studies: tuple[Disturbed, ...]


def command(study: str, out: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "hetconv", "study", "run", study, "--out", str(out), *options]


class Records:
    """What the folder of a study says while it is disturbed; asked again and again, because attempts are removed when
    their run has ended."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.attempts: dict[str, int] = {}
        self.epochs: dict[tuple[str, int], float] = {}
        self.ended: dict[str, str] = {}
        self.twice: set[str] = set()

    def look(self) -> None:
        for path in [*self.out.glob("runs/*/*/attempts/*/run.json"), *self.out.glob("runs/*/*/run.json")]:
            try:
                text = path.read_text()
            except OSError:
                continue  # its run has ended meanwhile
            run = json.loads(text)
            name = f"{run['variant']} seed {run['seed']}"
            if path.parent.parent.name == "attempts":
                self.attempts[name] = max(self.attempts.get(name, 1), int(path.parent.name))
            elif self.ended.setdefault(name, text) != text:
                self.twice.add(f"{name}: recorded again")
            for epoch in run["epochs"]:
                if self.epochs.setdefault((name, epoch["epoch"]), epoch["seconds"]) != epoch["seconds"]:
                    self.twice.add(f"{name} epoch {epoch['epoch']}")


def disturb(
    study: str, out: Path, where: Where, kills: int, chance: random.Random, pause: tuple[float, float]
) -> tuple[tuple[Kill, ...], int, Records]:
    """Run the study to its end; returns who was killed, and how often the command was given."""
    begin = time.monotonic()
    done: list[Kill] = []
    records, starts = Records(out), 1
    where.before_start()
    process = start(study, out, where)
    before, due = last_stored(out), None
    while True:
        records.look()
        try:
            _, said = process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            alive = where.alive(process.pid)
            stored = last_stored(out) != before
            if due is None and (stored or len(done) % 4 == 0):
                due = time.monotonic() + chance.uniform(*pause)
            if len(done) < kills and alive and due is not None and time.monotonic() >= due:
                chosen = chance.choice(list(alive))
                os.kill(chosen, signal.SIGKILL)
                done.append(Kill(round(time.monotonic() - begin, 1), alive[chosen], stored))
                where.killed(chosen, alive[chosen])
                before, due = last_stored(out), None
            continue
        if process.returncode == 0:
            records.look()
            return tuple(done), starts, records
        expected = where.before_start()
        if process.returncode != -signal.SIGKILL and not expected:
            raise SystemExit(f"the study ended with {process.returncode}: {said.decode()[-500:]}")
        process, starts = start(study, out, where), starts + 1


def start(study: str, out: Path, where: Where) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(study, out, where.options()), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def last_stored(out: Path) -> int:
    """When a checkpoint of any run was written last; 0 before the first."""
    checkpoints = [
        *out.glob("runs/*/*/checkpoint.safetensors"),
        *out.glob("runs/*/*/attempts/*/checkpoint.safetensors"),
    ]
    return max((changed_ns(path) for path in checkpoints), default=0)


def changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # its run has ended meanwhile
        return 0


def differences(reference: Path, killed: Path) -> tuple[list[str], list[str]]:
    """Runs that the killed study lost, and what it has otherwise than the undisturbed one."""
    runs, others = (
        {(run["variant"], run["seed"]): run for run in json.loads((folder / "results.json").read_text())["runs"]}
        for folder in (reference, killed)
    )
    lost, different = [], []
    for key, run in runs.items():
        other, name = others.get(key), f"{key[0]} seed {key[1]}"
        if other is None or other["state"] != "done":
            lost.append(name)
            continue
        mine, theirs = ([{**epoch, "seconds": 0} for epoch in side["epochs"]] for side in (run, other))
        if mine != theirs:
            different.append(f"{name}: epochs")
        path = Path("runs") / key[0] / f"seed-{key[1]}" / "checkpoint.safetensors"
        one, two = load_file(reference / path), load_file(killed / path)
        if one.keys() != two.keys() or any(one[name].tobytes() != two[name].tobytes() for name in one):
            different.append(f"{name}: weights")
    return lost, different


def disturbed(study: str, reference: Path, out: Path, where: Where, kills: int, chance: random.Random,
              pause: tuple[float, float]) -> Disturbed:  # fmt: skip
    """Disturb a study to its end, and compare it with the undisturbed one."""
    begin = time.monotonic()
    killed, starts, records = disturb(study, out, where, kills, chance, pause)
    seconds = round(time.monotonic() - begin, 1)
    lost, different = differences(reference, out)
    takeovers, repeated = sum(number - 1 for number in records.attempts.values()), sorted(records.twice)
    runs = len(json.loads((reference / "results.json").read_text())["runs"])
    return Disturbed(seconds, killed, runs, starts, takeovers, tuple(lost), tuple(repeated), tuple(different))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--study", help="a TOML file or a shipped study; a small one of its own without")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster")
    parser.add_argument("--epochs", type=int, default=20, help="of the small study")
    parser.add_argument("--pause", type=float, nargs=2, default=(0.5, 9.0), metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = options.study
    if study is None:
        study = str(options.out / "killed.toml")
        Path(study).write_text(DEFAULT.replace("EPOCHS", str(options.epochs)))
    begin = time.monotonic()
    reference = options.out / "undisturbed"
    alone = command(study, reference, ["--workers", "1"])
    subprocess.run(alone, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    undisturbed_seconds = round(time.monotonic() - begin, 1)
    where = OnRay(options.workers) if options.ray else Here(options.workers)
    chance, left, studies = random.Random(options.seed), options.kills, list[Disturbed]()
    while left > 0:
        out = options.out / f"killed-{len(studies) + 1}"
        if out.exists():
            raise SystemExit(f"{out} is there already; give a new folder with --out")
        studies.append(disturbed(study, reference, out, where, left, chance, tuple(options.pause)))
        left -= len(studies[-1].kills)
        found = summed(studies, options, study, undisturbed_seconds)
        save_record(found, options.out / "kills.json")
    wrong = [said for one in studies for said in (*one.lost, *one.twice, *one.different)]
    print(
        f"{found.kills} kills in {found.seconds:.0f} s and {len(studies)} studies, {found.takeovers} takeovers; "
        f"{'; '.join(wrong) or 'nothing lost, twice or different'}"
    )
    sys.exit(bool(wrong))


def summed(studies: list[Disturbed], options: argparse.Namespace, study: str, undisturbed_seconds: float) -> Kills:
    return Kills(
        circumstances(torch.device("cpu"), "float32", "channels_last", 32, 1), options.seed,
        version("ray") if options.ray else None, options.workers,
        Path(study).read_text() if Path(study).exists() else study, undisturbed_seconds,
        sum(one.seconds for one in studies), sum(len(one.kills) for one in studies),
        sum(one.takeovers for one in studies), sum(len(one.lost) for one in studies),
        sum(len(one.twice) for one in studies), not any(one.different or one.lost for one in studies), tuple(studies),
    )  # fmt: skip


if __name__ == "__main__":
    main()
