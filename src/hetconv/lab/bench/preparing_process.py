"""A process that prepares one network for one runtime, run by its path: a runtime that dies of it takes nobody along.

    python -P preparing_process.py RUNNER.py FOLDER THREADS < path.json

Standard input has the `sys.path` of the process that asks, where a network's own code may lie. What became of it is one
line of standard output behind `timing_process.py`'s mark: the runner's remark, or the error in words.
"""

import json
import runpy
import sys
from pathlib import Path


def main(runner: str, folder: Path, threads: int) -> None:
    sys.path[:] = json.load(sys.stdin)
    say = runpy.run_path(str(Path(__file__).with_name("timing_process.py")))["say"]
    try:
        say(remark=runpy.run_path(runner)["prepare"](folder, threads))
    except Exception as error:
        from hetconv.foreign import describe_error

        say(error=describe_error(error))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
