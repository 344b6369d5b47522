"""Kill a study's processes at random moments, and show that nothing is lost, done twice, or different in one bit.

python benchmarks/kill_study.py --kills 30 --out /tmp/killed [--study digits] [--workers 2] [--seed 0]

The study is run once undisturbed by one worker, then by several with `kill -9` of a random one of its processes (the
one that starts the workers included) at random moments; what was killed is started again by `hetconv study run`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from safetensors.numpy import load_file

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


def command(study: str, out: Path, workers: int) -> list[str]:
    return [sys.executable, "-m", "hetconv", "study", "run", study, "--out", str(out), "--workers", str(workers)]


def family(parent: int) -> list[int]:
    """A process and its children, as far as they live."""
    found = [parent] if Path(f"/proc/{parent}").exists() else []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(stat.parent.name))
    return found


def disturb(study: str, out: Path, workers: int, kills: int, chance: random.Random, pause: tuple[float, float]) -> int:
    """Run the study to its end; returns how many processes were killed. Orphans are left alone and found by nobody."""
    done, started = 0, set()
    process = subprocess.Popen(command(study, out, workers), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while True:
        try:
            _, said = process.communicate(timeout=chance.uniform(*pause))
        except subprocess.TimeoutExpired:
            started |= set(family(process.pid))
            alive = [pid for pid in started if Path(f"/proc/{pid}").exists()]
            if done < kills and alive:
                os.kill(chance.choice(alive), signal.SIGKILL)
                done += 1
            continue
        if process.returncode == 0:
            return done
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the study ended with {process.returncode}: {said.decode()[-500:]}")
        process = subprocess.Popen(command(study, out, workers), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def differences(reference: Path, killed: Path) -> list[str]:
    """What the killed study has otherwise than the undisturbed one."""
    runs, others = (
        {(run["variant"], run["seed"]): run for run in json.loads((folder / "results.json").read_text())["runs"]}
        for folder in (reference, killed)
    )
    found = []
    for key, run in runs.items():
        other = others.get(key)
        if other is None or other["state"] != "done":
            found.append(f"{key} is lost")
            continue
        for mine, theirs in zip(run["epochs"], other["epochs"], strict=True):
            if {**mine, "seconds": 0} != {**theirs, "seconds": 0}:
                found.append(f"{key} differs in epoch {mine['epoch']}")
        path = Path("runs") / key[0] / f"seed-{key[1]}" / "checkpoint.safetensors"
        one, two = load_file(reference / path), load_file(killed / path)
        if one.keys() != two.keys() or any(one[name].tobytes() != two[name].tobytes() for name in one):
            found.append(f"{key} has other weights")
    return found


def twice(killed: Path) -> list[str]:
    """Runs that were recorded, or epochs that were reported, more than once."""
    with sqlite3.connect(killed / "study.db") as database:
        told = dict[int, dict[str, str]]()
        for trial, name, value in database.execute("SELECT trial_id, key, value_json FROM trial_user_attributes"):
            told.setdefault(trial, {})[name] = value
        epochs = database.execute("SELECT trial_id, step FROM trial_intermediate_values").fetchall()
    key = {trial: (about["variant"], about["seed"]) for trial, about in told.items() if "variant" in about}
    recorded = Counter(key[trial] for trial, about in told.items() if "run" in about)
    reported = Counter((key[trial], step) for trial, step in epochs)
    return [f"{item} {count} times" for item, count in (recorded + reported).items() if count > 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", help="a TOML file or a shipped study; a small one of its own without")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20, help="of the small study")
    parser.add_argument("--pause", type=float, nargs=2, default=(2.0, 9.0), metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = options.study
    if study is None:
        study = str(options.out / "killed.toml")
        Path(study).write_text(DEFAULT.replace("EPOCHS", str(options.epochs)))
    reference, killed = options.out / "undisturbed", options.out / "killed"
    subprocess.run(command(study, reference, 1), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begin = time.monotonic()
    kills = disturb(study, killed, options.workers, options.kills, random.Random(options.seed), tuple(options.pause))
    wrong = differences(reference, killed) + twice(killed)
    print(
        f"{kills} kills in {time.monotonic() - begin:.0f} s; {'; '.join(wrong) or 'nothing lost, twice or different'}"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
