"""Four processes on PostgreSQL: no run twice, through a database that goes and comes back."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hetconv.study.queue import Queue, RunKey
from hetconv.study.storage import Trials, open_storage

PROGRAMS = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
INITDB = next((program for program in PROGRAMS if program), None)


def why_not() -> str | None:
    if INITDB is None:
        return "no PostgreSQL: apt-get install postgresql"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "no psycopg: pip install 'hetconv[cluster]'"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

WORKERS = """
import multiprocessing, sys, time
from hetconv.records import Epoch, Run
from hetconv.study.queue import Queue
from hetconv.study.storage import Trials, open_storage

def work():
    storage = open_storage(sys.argv[1])
    queue = Queue(Trials(storage, storage.get_study_id_from_name("test"), lambda text: print(text, file=sys.stderr)))
    print("open", flush=True)
    at_once.wait()
    while not queue.is_ended():
        claim = queue.claim()
        if claim is None:
            time.sleep(0.05)
            continue
        print(claim.key.seed, flush=True)
        time.sleep(float(sys.argv[2]))
        run = Run(claim.key.variant, claim.key.seed, "done", (Epoch(1, 0.1, 1.0, 1.0, 0.5, 1.0),))
        assert queue.finish(claim, run)

fork = multiprocessing.get_context("fork")
at_once = fork.Barrier(4)
workers = [fork.Process(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
sys.exit(max(abs(worker.exitcode) for worker in workers))
"""
"""Four processes, forked from one so that PyTorch is imported once."""


class Server:
    """A PostgreSQL server of this test's own, on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        assert INITDB is not None
        self.folder, self.bin = folder, Path(INITDB).resolve().parent
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"

    def call(self, program: str, *options: str) -> None:
        subprocess.run([*self.user, str(self.bin / program), *options], check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        data = str(self.folder / "data")
        self.call("pg_ctl", "-D", data, "-o", settings, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")


@pytest.fixture
def server() -> Iterator[Server]:
    """In a short folder, because a socket's name may have 107 characters only, and in one that postgres may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pg.", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    made = Server(folder)
    made.call("initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.fixture
def one(server: Server) -> Iterator[Queue]:
    """This process's view of the study."""
    from optuna.study import StudyDirection

    storage = open_storage(server.url)
    yield Queue(Trials(storage, storage.create_new_study([StudyDirection.MAXIMIZE], "test")))
    storage.engine.dispose()


def test_four_workers_do_no_run_twice_while_the_database_goes_and_comes(server: Server, one: Queue) -> None:
    one.add(RunKey("net", "dense", seed) for seed in range(24))
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WORKERS, server.url, "0.2"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as workers:
        assert workers.stdout is not None
        assert [workers.stdout.readline() for _ in range(4)] == ["open\n"] * 4
        done = Counter([int(workers.stdout.readline())])
        server.stop()
        server.start()
        out, error = workers.communicate(timeout=300)
    assert workers.returncode == 0, error[-2000:]
    done.update(int(seed) for seed in out.split())
    assert one.is_ended()
    assert done == Counter(range(24))
    assert all(status.attempts == 1 and status.run is not None for status in one.statuses().values())
