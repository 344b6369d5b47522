import signal
import sys
from pathlib import Path

import pytest

from hetconv.cli import run
from hetconv.lab.report.runs_csv import read_runs_csv
from hetconv.lab.settings import load_definition
from hetconv.lab.study import Store, open_study
from hetconv.lab.study.attempts import Watcher

from .holding import HOLDS, hold, start, wait_until_it_holds

TINY = """
name = "tiny"
networks = ["resnet20_cifar", "vgg16_cifar"]
width = 0.125
variants = ["dense", "het-p2"]
seeds = [0]
data = "digits"
train_limit = 64
recipe = "fast"
threads = 1
latency_samples = 2
[recipes.fast]
epochs = 1
batch_size = 32
[[claims]]
name = "kept"
text = "P2 keeps the accuracy"
variant = "het-p2"
relation = "kept"
margin = 1.0
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(TINY)
    arguments = (str(folder / "tiny.toml"), str(folder / "out"))
    assert run(["study", "run", arguments[0], "--out", arguments[1], "--workers", "2", "--tensorboard"]) == 0
    return arguments


def test_run_leaves_page_markdown_csv_and_curves(study: tuple[str, str]) -> None:
    out = Path(study[1])
    text = (out / "report.html").read_text()
    assert "Do the claims hold?" in text
    assert "Results: vgg16_cifar × 0.125" in text
    assert "undecided: needs about 2 more seeds" in (out / "report.md").read_text()
    assert len(list((out / "tensorboard").rglob("events*"))) == 4
    runs = read_runs_csv(out / "runs.csv")
    assert runs == {
        f"{name} × 0.125": Store(out / name).load_results().runs for name in ("resnet20_cifar", "vgg16_cifar")
    }


def test_status_resume_and_report(study: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    definition, out = study
    assert run(["study", "status", definition, "--out", out]) == 0
    printed = capsys.readouterr().out
    assert "vgg16_cifar het-p2 seed 0: done after 1 epochs" in printed
    assert "4 runs: 4 done" in printed
    assert run(["study", "resume", definition, "--out", out]) == 0
    assert "done before" in capsys.readouterr().err
    assert run(["study", "worker", "--out", out]) == 0
    assert run(["study", "report", definition, "--out", out]) == 0
    assert "undecided: needs about 2 more seeds: P2 keeps the accuracy" in " ".join(capsys.readouterr().out.split())


def test_report_joins_what_was_done_elsewhere(
    study: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definition, out = study
    lines = (Path(out) / "runs.csv").read_text().splitlines(keepends=True)
    other = tmp_path / "elsewhere.csv"
    other.write_text("".join([lines[0], *(line.replace(",0,done", ",1,done") for line in lines[1:])]))
    assert run(["study", "report", definition, "--out", out, "--join", str(other)]) == 0
    assert "4 runs joined from elsewhere.csv" in (Path(out) / "report.md").read_text()
    assert len(read_runs_csv(Path(out) / "runs.csv")["vgg16_cifar × 0.125"]) == 4
    other.write_text(other.read_text()[:-9])
    capsys.readouterr()
    assert run(["study", "report", definition, "--out", out, "--join", str(other)]) == 2
    error = capsys.readouterr().err
    assert "elsewhere.csv line 5: " in error
    assert error.count("\n") == 1
    assert run(["study", "report", definition, "--out", out]) == 0


def test_another_study_in_its_folder_is_refused(
    study: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace('"tiny"', '"other"'))
    assert run(["study", "run", str(other), "--out", study[1]]) == 2
    assert "holds the study 'tiny', not 'other'" in capsys.readouterr().err
    other.write_text(TINY.replace("epochs = 1", "epochs = 2"))
    assert run(["study", "run", str(other), "--out", study[1]]) == 2
    assert "epochs was 1 and is now 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "looked for the study nothing; it is not there"),
        (["report", "/"], "/ is a folder; name the study, and give its folder with --out"),
        (["resume", "digits", "--out", "/no/such"], "looked for the study /no/such/study.json; it is not there"),
        (["status", "digits", "--out", "/no/such"], "looked for the study /no/such/study.json; it is not there"),
        (["report", "digits", "--out", "/no/such"], "looked for the study /no/such/study.json; it is not there"),
        (["worker", "--out", "/no/such"], "looked for the study /no/such/definition.json; it is not there"),
        (["run", "digits", "--recipe", "slow"], "recipe='slow' must be one of fast, long"),
        (["run", "digits", "--out", "/proc/no"], "cannot write to /proc/no"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["study", *(argument.format(folder=tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_every_wrong_key_is_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace("epochs = 1", "epoch = 1").replace("seeds", "seds"))
    assert run(["study", "run", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.fixture
def holding(tmp_path: Path) -> Path:
    """A working folder with a study that stands still in its second epoch, and modules that no process should run."""
    (tmp_path / "holds.py").write_text(HOLDS)
    two = TINY.replace('"resnet20_cifar", "vgg16_cifar"', '"holds:Holds"').replace("width = 0.125", "")
    (tmp_path / "two.toml").write_text(two.replace("epochs = 1", "epochs = 3"))
    for name in ("accelerate", "ray", "typer", "safetensors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the working folder was run')")
    hold(tmp_path, 2)
    return tmp_path


def run_two(holding: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "hetconv", "study", "run", "two.toml", "--out", "out", "--workers", "2"]


def run_inside(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """A command on the study of a working folder, to its end, in this process."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.delitem(sys.modules, "holds", raising=False)
        assert run(["study", *arguments, "--out", "out"]) == 0


def processes_of(folder: Path) -> list[int]:
    """Those that work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes in /proc")
def test_sigterm_ends_the_workers_too_and_they_let_go_of_their_runs(
    holding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(run_two(holding), holding)
    wait_until_it_holds(holding, process)
    assert len(processes_of(holding)) == 3
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 143, error
    assert "Traceback" not in error
    assert "stopped; the same command goes on from the last stored epoch" in error.splitlines()[-1]
    assert processes_of(holding) == []
    assert list(holding.glob("out/runs/*/*/attempts/1/lease.json")) == []
    (holding / "hold").unlink()
    run_inside(holding, monkeypatch, "run", "two.toml")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes in /proc")
def test_a_worker_that_stood_still_while_another_finished_changes_nothing(
    holding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.chdir(holding)
        open_study(load_definition("two.toml"), Path("out"))
    asleep = start([sys.executable, "-P", "-c", IMPATIENT, "study", "worker", "--out", "out"], holding)
    wait_until_it_holds(holding, asleep)
    asleep.send_signal(signal.SIGSTOP)
    (holding / "hold").unlink()
    monkeypatch.setattr(Watcher.__init__, "__defaults__", (0.5, *(Watcher.__init__.__defaults__ or ())[1:]))
    monkeypatch.setattr("hetconv.lab.study.worker.POLL_S", 0.1)
    run_inside(holding, monkeypatch, "worker")
    before = {path: path.read_bytes() for path in (holding / "out").rglob("*") if path.is_file()}
    assert holding / "out" / "runs" / "dense" / "seed-0" / "checkpoint.safetensors" in before
    asleep.send_signal(signal.SIGCONT)
    _, error = asleep.communicate()
    assert asleep.returncode == 0, error
    assert {path: path.read_bytes() for path in (holding / "out").rglob("*") if path.is_file()} == before
    told = "dense seed 0: another process has taken this run over, because this one had seemed dead"
    assert told in " ".join(error.split())


IMPATIENT = """
from hetconv.lab.study import attempts, worker
attempts.Watcher.__init__.__defaults__ = (0.5, *attempts.Watcher.__init__.__defaults__[1:])
worker.POLL_S = 0.1
from hetconv.cli import main
main()
"""
"""A worker that takes a run over after half a second instead of a minute."""
