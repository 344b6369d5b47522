"""Whatever a user's code, files and numbers do, the command ends in one line and the right exit code."""

import re
from pathlib import Path

import pytest

from hetconv.cli import run

THEIRS = """
import sys
from torch import nn

class Aux(nn.Module):
    \"\"\"Gives a second head's output too while it trains.\"\"\"
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.main, self.aux = nn.Linear(8, num_classes), nn.Linear(8, num_classes)
    def forward(self, x):
        y = self.body(x)
        return (self.main(y), self.aux(y)) if self.training else self.main(y)

class Raises(Aux):
    def forward(self, x):
        if self.training:
            raise KeyError("no \\x1b[31mmask")
        return super().forward(x)

class Leaves(Aux):
    def __init__(self):
        sys.exit(0)

class LeavesLater(Aux):
    def forward(self, x):
        sys.exit(0)

class Backward(Aux):
    def forward(self, x):
        y = self.main(self.body(x))
        if self.training:
            y.register_hook(lambda _: 1 / 0)
        return y
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "theirnets.py").write_text(THEIRS)
    (tmp_path / "theirbroken.py").write_text("import os\n\nTABLE = {}['size']\n")
    (tmp_path / "theirleaver.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, but for notes and what says how far it has come."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hetconv: note: ")]
    (line,) = [line for line in lines if not line.startswith("measuring times, in turns")]
    assert line.startswith("hetconv: ")
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("theirbroken:net", "cannot find network 'theirbroken:net': KeyError: 'size' (theirbroken.py line 3)"),
        ("theirleaver:net", "cannot find network 'theirleaver:net': SystemExit (theirleaver.py line 1)"),
        ("theirnets:Leaves", "network 'theirnets:Leaves' cannot be made: SystemExit: 0 (theirnets.py line 26)"),
        ("theirnets:LeavesLater", "the model does not take this input: SystemExit: 0 (theirnets.py line 30)"),
        ("builtins:type", "network 'builtins:type' cannot be made: TypeError: "),
        ("sys:exit", "network 'sys:exit' cannot be made: SystemExit"),
        ("builtins:None", "'builtins:None' is no function or class that makes a network"),
        ("math:nothing", "cannot find network 'math:nothing': AttributeError: "),
        (":", "cannot find network ':': ValueError: Empty module name"),
        (".a:b", "cannot find network '.a:b': TypeError: "),
    ],
)
def test_networks_that_cannot_be_had(theirs: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", name, "--input", "3,8,8"]) == 2
    assert message in only_line(capsys)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Aux", "in training, the network gives a tuple of 2; it must give one tensor of (batch, classes)"),
        (
            "Raises",
            "the network cannot be trained on a batch of 32: KeyError: 'no \\x1b[31mmask' (theirnets.py line 21)",
        ),
        (
            "Backward",
            "the network cannot be trained on a batch of 32: ZeroDivisionError: division by zero (theirnets.py",
        ),
    ],
)
def test_networks_that_cannot_be_trained(
    theirs: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", f"theirnets:{name}", "--variants", "dense", "--epochs", "1", "--out", "runs"]
    assert run([*arguments, "--train-limit", "64", "--batch-size", "32"]) == 2
    assert message in only_line(capsys)


def test_debug_shows_the_traceback(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "theirbroken:net", "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert 'theirbroken.py", line 3' in said
    assert said.splitlines()[-1].startswith("hetconv: cannot find network")


def test_what_nobody_foresaw_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("a fault of ours")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("hetconv.lab.published.published_table", fails)
    assert run(["table", "vgg16-cifar10"]) == 1
    line = only_line(capsys)
    assert line.startswith("hetconv: failed unexpectedly: AssertionError: a fault of ours")
    kept = re.search(r"its traceback is in (.*); please report it$", line)
    assert kept is not None
    assert "in fails" in Path(kept[1]).read_text()
    assert run(["--debug", "table", "vgg16-cifar10"]) == 1
    assert "in fails" in capsys.readouterr().err


HUGE = str(10**30)
BIG = str(10**9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["profile", "resnet20_cifar", "--input", f"3,{HUGE},8"],
            f"--input '3,{HUGE},8' must be channels,height,width",
        ),
        (["profile", "resnet20_cifar", "--input", "3,60000,60000"], "is more than the"),
        (["profile", "resnet20_cifar", "--batch-size", BIG], "is more than the"),
        (["deploy", "resnet20_cifar", "--out", "x", "--input", f"3,{BIG},{BIG}"], "must be channels,height,width"),
        (["bench", "resnet20_cifar", "--batch-size", BIG], "is more than the"),
        (["profile", "resnet20_cifar", "--num-classes", BIG], "num_classes=1000000000 must be between 1 and 1,000,000"),
        (["profile", "resnet20_cifar", "--num-classes", HUGE], "must be between 1 and 1,000,000"),
        (["profile", "resnet20_cifar", "--threads", HUGE], "--threads"),
        (["profile", "resnet20_cifar", "--threads", BIG], "--threads"),
        (["bench", "resnet20_cifar", "--threads", BIG], "must be numbers between 1 and"),
        (["train", "--out", "x", "--seed", HUGE], "--seed"),
        (["sensitivity", "resnet20_cifar", "--seed", HUGE], "--seed"),
        (["compare", "--seeds", BIG], "--seeds"),
        (["compare", "--image-size", BIG], "--image-size"),
    ],
)
def test_numbers_out_of_all_proportion(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert message in only_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["deploy", "resnet20_cifar"], ["export", "resnet20_cifar"], ["quantize", "input.onnx"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(("out", "message"), [
    ("", "is a folder; give a file"), (".", "is a folder; give a file"), ("/dev/null", "is a device, pipe or socket"),
    ("input.onnx", "is read for it"), ("link.onnx", "is a link to"), ("input.onnx/x.onnx", "is no folder"),
])  # fmt: skip
def test_outputs_are_checked_before_work_begins(
    command: list[str], out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No network is made, no file read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hetconv.lab.models.create_model", None)
    Path("input.onnx").write_bytes(b"untouched")
    Path("link.onnx").symlink_to("input.onnx")
    reads = [] if command[0] == "quantize" else ["--weights", "input.onnx"]
    assert run([*command, *reads, "--out", out]) == 2
    assert message in only_line(capsys)
    assert Path("input.onnx").read_bytes() == b"untouched"


def test_a_folder_of_results_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hetconv.lab.bench.bench_in_turns", None)
    monkeypatch.setattr("hetconv.lab.study.probing.probe", None)
    out = tmp_path / "out"
    out.write_text("kept")
    for command, more in (("bench", []), ("sensitivity", []), ("adapt", ["--weights", "never-read.safetensors"])):
        assert run([command, "resnet20_cifar", *more, "--out", str(out)]) == 2
        assert "out' is no folder" in only_line(capsys)
    assert out.read_text() == "kept"


def test_names_with_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "\x1b]0;owned\x07\u202efolder")]) == 2
    assert "\ufffd]0;owned\ufffd\ufffdfolder/results.json" in only_line(capsys)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    import hetconv

    root = Path(__file__).parent.parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hetconv.version.VERSION"}
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"hetconv {hetconv.__version__}\n"
