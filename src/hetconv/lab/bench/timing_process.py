"""A process that runs one network in one runtime, run by its path: what it imports is measured as the runtime's.

    python -P timing_process.py RUNNER.py FOLDER THREADS

It loads the network, runs the folder's input.npy once, writes output.npy and says so; then it reads numbers from
standard input, and for each runs that many calls and says how long they took. What it says begins with a mark, since
runtimes write to standard output too.
"""

import json
import runpy
import sys
import time
from pathlib import Path

import numpy as np

MARK = "hetconv-bench "


def peak_bytes() -> int:
    """The most memory that this process has held, from the kernel; 0 where it does not tell.

    `getrusage` would tell the parent's where the parent was larger.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return 1024 * int(lines["VmHWM"].split()[0])


def say(**what: float | str) -> None:
    print(MARK + json.dumps(what), flush=True)


def main(runner: str, folder: Path, threads: int) -> None:
    x = np.load(folder / "input.npy")
    run = runpy.run_path(runner)["load"](folder, threads)
    np.save(folder / "output.npy", np.asarray(run(x)))
    say(peak_bytes=peak_bytes())
    for line in sys.stdin:
        calls = int(line)
        begin = time.perf_counter()
        for _ in range(calls):
            run(x)
        say(seconds=(time.perf_counter() - begin) / calls)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
