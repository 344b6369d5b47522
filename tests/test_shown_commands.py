"""Every shell command that README and docs show does its work.

They run in the order in which their page shows them, each page in a folder of its own, on tiny settings and with times
that are made up or of one call: what is measured is tested elsewhere.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torchvision.models
from PIL import Image
from safetensors.torch import save_file

from hetconv.adaptation.targets import DeployTarget
from hetconv.cli import run
from hetconv.deployment import choose
from hetconv.lab import create_model
from hetconv.lab.bench import Bench
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.nn import HetConv2d
from hetconv.ops import native
from hetconv.records import Circumstances, Latency

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

TRAINING = "--epochs 1 --train-limit 24 --batch-size 12 --width 0.5 --image-size 32 --threads 1"
TINY = {
    "compare": f"{TRAINING} --retrain-epochs 1 --prepare-epochs 1",
    "train": TRAINING,
    "sensitivity": f"{TRAINING} --validation-images 12",
    "adapt": "--epochs 1 --train-limit 24 --train-batch-size 12 --images 24 --p 2,4 --width 0.5 --image-size 32",
    "profile": "--input 3,32,32",
    "bench": "--width 0.5",
    "export": "--width 0.5 --input 3,32,32",
    "deploy": "--width 0.5 --input 3,32,32",
    "evaluate": "--image-size 32",
    "predict": "--image-size 32",
    "quantize": "--calibration-images 16 --image-size 32",
}
"""What is put behind the shown options of a command; the last of an option is the one that counts."""
INSTEAD = {
    "resnet18": "resnet20_cifar", "resnet50": "resnet20_cifar", "vgg16_cifar": "resnet20_cifar",
    "cifar10:~/data": "digits", "cifar10:data": "digits",
}  # fmt: skip
"""Small networks and small data in the place of those that are shown."""
NOT_RUN = {
    r"pip install": "installs",
    r"make demo": "installs PyTorch, and trains for minutes",
    r"hetconv check$": "takes no settings, and is run by tests/cli/test_commands.py",
    r"hetconv study run (cifar10|imagenet)": "trains for hours on data that must be downloaded",
    r"hetconv study worker --out /nfs": "is for several machines that share a folder",
    r"hetconv shards ~/imagenet": "is of ImageNet; tests/lab/train/test_shards.py packs another folder",
    r"(torchrun|accelerate) ": "starts processes on several GPUs or machines",
    r"python benchmarks/": "measures for minutes to hours",
    r"python -m pytest": "is a test itself",
}
"""Commands that are not run here, and why."""
WITH_PYTHON = {"tutorial.md"}
"""Pages whose Python examples read what their commands write, and the other way round."""

TINY_STUDY = """
name = "digits"
title = "tiny"
networks = ["resnet20_cifar"]
width = 0.25
variants = ["dense"]
seeds = [0]
data = "digits"
recipe = "fast"
threads = 1
train_limit = 24
latency_samples = 1

[recipes.fast]
epochs = 1
batch_size = 12
"""


class MadeUp(DeployTarget):
    """Times that P divides, so that every budget is met."""

    def __init__(self):
        super().__init__()
        self.times = {}

    def layer_times(self, model, example, parts):
        return {name: {p: 1 / p for p in (1, *tried)} for name, tried in parts.items()}

    def prepare(self, model, example):
        deployed = super().prepare(model, example)
        layers = [layer for layer in model.modules() if isinstance(layer, HetConv2d | torch.nn.Conv2d)]
        self.times[deployed] = sum(1 / getattr(layer, "p", 1) for layer in layers)
        return deployed

    def network_times(self, prepared, example):
        return {name: self.times[deployed] for name, deployed in prepared.items()}


def small_resnet(num_classes):
    return create_model("resnet20_cifar", "dense", num_classes, width=0.5)


def once(timers, *_, **__):
    return {name: [timer(1)] for name, timer in timers.items()}


def benched(settings: Bench) -> BenchResults:
    at = Circumstances("2026-01-01", "a processor", 4, settings.threads, "cpu", "float32", "own", 1, {})
    entries = [BenchEntry("PyTorch", name, latency=Latency(1.0, 0.9, 1.1, 20, "own")) for name in settings.variants]
    macs = dict.fromkeys(settings.variants, 1000)
    return BenchResults(settings.network, settings.input_size, 10, 1.0, settings.variants, macs, at, tuple(entries))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with what a reader has: photographs and a trained network; quick clocks."""
    if native.why_not_loaded() is not None:
        pytest.skip(native.why_not_loaded())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(ROOT / "tests" / "photos", tmp_path / "photos")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg")
    save_file(create_model("resnet20_cifar", width=0.5).state_dict(), tmp_path / "trained.safetensors")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "digits.toml").write_text(TINY_STUDY)
    monkeypatch.setattr("hetconv.lab.settings.study_file.STUDIES", tmp_path / "studies")
    monkeypatch.setattr(choose, "_measure", lambda work: choose.Times(1.0, 2.0))
    for module in ("hetconv.cost.latency", "hetconv.deployment.before_and_after"):
        monkeypatch.setattr(sys.modules[module], "times_in_turns", once)
    monkeypatch.setattr("hetconv.lab.bench.bench_in_turns", lambda several, told: tuple(map(benched, several)))
    monkeypatch.setattr("hetconv.lab.adapting.course.target_of", lambda *_: MadeUp())
    monkeypatch.setattr(torchvision.models, "resnet18", small_resnet)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every example, in order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]


def why_not(command: str) -> str | None:
    """Why a command is not run."""
    plain = " ".join(shlex.split(command, comments=True))
    if " --ray" in plain:
        return "starts a Ray cluster"
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, plain)), None)


def tiny(command: str) -> list[str]:
    """The arguments of a command on tiny settings."""
    program, *shown = shlex.split(command, comments=True)
    assert program == "hetconv", command
    arguments = [INSTEAD.get(argument, str(Path(argument).expanduser())) for argument in shown]
    options = TINY.get(arguments[0], "") + (" --width 0.5" if "--model" in arguments else "")
    if arguments[0] == "export" and "--precision" not in arguments:
        options += " --form dense"  # no forms are timed
    return [*arguments, *shlex.split(options)]


def prepare(command: str) -> None:
    """What a command needs that no command of its page makes."""
    if "elsewhere/runs.csv" in command:
        Path("elsewhere").mkdir()
        shutil.copy("runs/digits/runs.csv", "elsewhere")


@pytest.mark.timed
@pytest.mark.parametrize("page", [page for page in PAGES if "sh" in dict(blocks(page))], ids=lambda page: page.name)
def test_shown_commands_do_their_work(page, folder, capsys):
    names: dict[str, object] = {}
    for language, block in blocks(page):
        if language == "python" and page.name in WITH_PYTHON:
            exec(compile(block, page.name, "exec"), names)
        for command in commands(block) if language == "sh" else ():
            if why_not(command) is None:
                prepare(command)
                code = run(tiny(command))
                assert code == 0, f"{command}\n{capsys.readouterr().err}"


def test_every_reason_is_needed():
    shell = [block for page in PAGES for language, block in blocks(page) if language == "sh"]
    plain = [" ".join(shlex.split(command, comments=True)) for block in shell for command in commands(block)]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command) for command in plain), pattern
