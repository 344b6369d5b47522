from pathlib import Path

import pytest

from hetconv.cli import run
from hetconv.report.runs_csv import read_runs_csv
from hetconv.study import Store

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
    assert "**undecided: needs about 2 more seeds**" in (out / "report.md").read_text()
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
        (["resume", "digits", "--out", "/no/such"], "looked for the study /no/such/study.db; it is not there"),
        (["worker", "--out", "/no/such"], "looked for the study /no/such/study.db; it is not there"),
        (["run", "digits", "--recipe", "slow"], "recipe='slow' must be one of fast, long"),
        (["run", "digits", "--out", "/proc/no"], "cannot write to /proc/no"),
        (["run", "digits", "--storage", "mysql://x", "--out", "{folder}/study"], "must be postgresql://"),
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
