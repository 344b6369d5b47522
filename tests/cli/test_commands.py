import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hetconv.cli import run
from hetconv.lab.bench import Bench
from hetconv.lab.results import BenchEntry, BenchResults, Run
from hetconv.records import Circumstances, Latency, load_record

from .holding import HOLDS, hold, start, wait_until_it_holds

SMALL = ["--width", "0.25", "--train-limit", "64", "--epochs", "2", "--batch-size", "32"]


def test_compare_ends_in_a_table_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--out", str(tmp_path / "out"), "--variants", "dense,het-p4", *SMALL]) == 0
    printed = capsys.readouterr().out
    for word in ("dense", "het-p4", "MACs", "report.html", "Measured on"):
        assert word in printed
    assert "<html" in (tmp_path / "out" / "report.html").read_text()
    assert run(["report", str(tmp_path / "out")]) == 0
    assert "het-p4" in capsys.readouterr().out


def test_train_leaves_weights_that_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hetconv.lab.models import create_model
    from hetconv.lab.train.checkpoint import load_checkpoint, read_header

    assert run(["train", "--out", str(tmp_path), "--variant", "het-p4", "--seed", "3", *SMALL]) == 0
    path = Path(capsys.readouterr().out.split("weights: ")[1].strip().replace("\n", ""))
    model = create_model("resnet20_cifar", "het-p4", width=0.25)
    header = read_header(path)
    assert len(load_checkpoint(path, model, None, header.identity)) == 2


def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "resnet20_cifar", "--variant", "het-p4", "--input", "3,16,16"]) == 0
    assert "het P4" in capsys.readouterr().out


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "vgg16-cifar10"]) == 0
    printed = capsys.readouterr().out
    for word in ("313.74", "93.93", "CVPR 2019", "nothing measured"):
        assert word in printed


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 0
    assert "0 outside their error budget" in capsys.readouterr().out


@pytest.mark.timed
def test_deploy_takes_a_trained_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from hetconv import load_deployed
    from hetconv.lab.models import create_model
    from hetconv.ops import native
    from hetconv.weights_file import load_weights

    if native.why_not_loaded() is not None:
        pytest.skip(str(native.why_not_loaded()))
    assert run(["train", "--out", str(tmp_path / "run"), "--variant", "het-p4", *SMALL]) == 0
    weights = capsys.readouterr().out.split("weights: ")[1].strip().replace("\n", "")
    options = ["resnet20_cifar", "--variant", "het-p4", "--width", "0.25"]
    assert run(["deploy", *options, "--weights", weights, "--out", str(tmp_path / "small.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "of 19 convolutions run on the native kernels" in printed
    assert "small.safetensors" in printed
    model = create_model("resnet20_cifar", "het-p4", width=0.25).eval()
    load_weights(Path(weights), model)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(load_deployed(tmp_path / "small.safetensors")(x), model(x))
    assert run(["deploy", *options[:3], "--width", "0.5", "--weights", weights, "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert "holds the weights of another model: " in said
    assert "make the model with the classes and width that it was trained with" in said


def test_a_checkpoint_says_width_classes_variant_and_input_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hetconv.lab.models import create_model
    from hetconv.lab.train.checkpoint import save_checkpoint
    from hetconv.lab.trained import Trained, title

    path = tmp_path / "checkpoint.safetensors"
    model = create_model("resnet20_cifar", "het-p8", 7, width=0.5)
    identity = {
        "network": title("resnet20_cifar", 0.5), "variants": ["het-p8"], "num_classes": 7, "input_size": [3, 24, 40],
        "class_names": list("abcdefg"),
    }  # fmt: skip
    save_checkpoint(path, model, None, identity, ())
    assert Trained.of(path) == Trained("resnet20_cifar", 0.5, "het-p8", 7, (3, 24, 40), tuple("abcdefg"))
    out = str(tmp_path / "out.onnx")
    assert run(["export", "resnet20_cifar", "--weights", str(path), "--out", out, "--form", "dense"]) == 0
    read = capsys.readouterr()
    assert "random" not in read.err
    assert onnx_sizes(out) == ([3, 24, 40], [7])
    assert run(["export", "resnet20_cifar", "--weights", str(path), "--out", out, "--num-classes", "8"]) == 2
    assert "holds the weights of another model" in capsys.readouterr().err


def onnx_sizes(file: str) -> tuple[list[int], list[int]]:
    """The sizes of one example's input and output."""
    import onnx

    graph = onnx.load(file).graph
    shapes = [
        [size.dim_value for size in value.type.tensor_type.shape.dim] for value in (graph.input[0], graph.output[0])
    ]
    return shapes[0][1:], shapes[1][1:]


def test_a_network_with_random_weights_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 4, 3))")
    options = ["--form", "dense", "--input", "3,8,8", "--out", "out.onnx"]
    assert run(["export", "theirs:net", *options]) == 0
    assert capsys.readouterr().err == ""
    assert run(["export", "resnet20_cifar", "--width", "0.25", *options]) == 0
    said = "hetconv: note: the weights of resnet20_cifar are random; give trained ones with --weights\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("saved", ["dense", "het-p4"])
def test_training_begins_from_the_weights_of_a_file(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a learning rate of nothing they stay; of the dense network, a HetConv layer keeps its part."""
    import torch
    from safetensors.torch import save_file

    from hetconv import convert_, load_weights
    from hetconv.lab.models import create_model

    begun = create_model("resnet20_cifar", saved, width=0.25)
    save_file(begun.state_dict(), tmp_path / "begun.safetensors")
    still = ["--lr", "0", "--weights", str(tmp_path / "begun.safetensors"), *SMALL]
    assert run(["train", "--out", str(tmp_path / "out"), "--variant", "het-p4", *still]) == 0
    if saved == "dense":
        convert_(begun, p=4)
    trained = create_model("resnet20_cifar", "het-p4", width=0.25)
    load_weights(next((tmp_path / "out").rglob("checkpoint.safetensors")), trained)
    wanted = dict(begun.named_parameters())
    for name, value in trained.named_parameters():
        assert torch.equal(value, wanted[name])
    assert run(["compare", "--out", str(tmp_path / "no"), "--variants", "dwc-pwc", *still]) == 2
    assert "dwc-pwc cannot begin from these weights: " in capsys.readouterr().err
    assert run(["train", "--out", str(tmp_path / "out"), "--variant", "het-p4", "--lr", "0", *SMALL]) == 2
    assert "weights" in capsys.readouterr().err  # the folder is of a training that began elsewhere


def test_train_export_and_quantize(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "resnet20_cifar", "--out", str(tmp_path), "--variant", "het-p4", *SMALL]) == 0
    weights = str(next(tmp_path.rglob("*.safetensors")))
    whole, small8 = str(tmp_path / "whole.onnx"), str(tmp_path / "int8.onnx")
    arguments = ["export", "resnet20_cifar", "--weights", weights, "--out", whole, "--form", "dense"]
    assert run(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "HetConv layers: 18, dense" in printed
    assert "compared with the model: onnxruntime" in printed
    assert run(["quantize", whole, "--out", small8, "--calibration-images", "64"]) == 0
    assert "accuracy on 360 images" in capsys.readouterr().out
    assert run(["export", "resnet20_cifar", "--width", "1", "--weights", weights, "--out", whole]) == 2
    assert "holds the weights of another model" in capsys.readouterr().err


def test_bench_ends_in_a_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--width", "0.25", "--input", "3,16,16", "--rounds", "1", "--runtimes", "torch_eager"]
    assert run(["bench", "resnet20_cifar", "--out", str(tmp_path), *options]) == 0
    assert "times as fast is over dense" in " ".join(capsys.readouterr().out.split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bench.json", "bench.md", "bench.png"]


def test_bench_with_several_numbers_of_threads_keeps_each_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hetconv.lab.bench.bench_in_turns", lambda several, notice: tuple(map(measured, several)))
    assert run(["bench", "resnet20_cifar", "--threads", "1,3,1", "--out", str(tmp_path)]) == 0
    names = [f"bench-threads-{count}.{kind}" for count in (1, 3) for kind in ("json", "md", "png")]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert "1 thread" in (tmp_path / "bench-threads-1.md").read_text()
    assert " ".join(capsys.readouterr().out.split()).count("times as fast is over dense") == 2


def measured(settings: Bench) -> BenchResults:
    at = Circumstances("2026-01-01", "a processor", 4, settings.threads, "cpu", "float32", "own", 1, {})
    entries = (BenchEntry("PyTorch", "dense", latency=Latency(1.0, 0.9, 1.1, 20, "own"), error=1e-7),)
    return BenchResults(settings.network, settings.input_size, 10, 1.0, ("dense",), {"dense": 1000}, at, entries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--variants", "het-4"], "unknown variant 'het-4' (did you mean het-p4?)"),
        (["compare", "--variants", ""], "unknown variant ''"),
        (["compare", "--data", "mnist"], "unknown data set 'mnist'"),
        (["compare", "--data", "cifar10:/no/such"], "looked for the folder /no/such"),
        (["compare", "resnet51"], "unknown network 'resnet51'"),
        (["compare", "--lr", "-1"], "learning_rate=-1.0 must be at least 0"),
        (["compare", "--schedule", "step", "--step-epochs", "5,x"], "--step-epochs '5,x' must be whole numbers"),
        (["compare", "--seeds", "0"], "--seeds"),
        (["compare", "--out", "/proc/nothing/here"], "cannot write to /proc/nothing/here"),
        (["compare", "--out", __file__], f"cannot write to {__file__}: it is a file; give a folder"),
        (["compare", "--variants", "dense,l1-100"], "l1-100: share=1 must be above 0 and below 1"),
        (["compare", "--variants", "dense,l1-a"], "l1-a: l1-a is set down for VGG-16"),
        (["compare", "--variants", "gwc4-pwc-connection-90"], "is a grouped convolution, which is not run sparse"),
        (["compare", "--variants", "l1-50x2"], "l1-50x2: only afp and connection go in rounds"),
        (["profile", "vgg16_cifar", "--input", "3,32"], "--input '3,32' must be channels,height,width"),
        (["profile", "vgg16_cifar", "--input", "3x32x32"], "--input '3x32x32' must be channels,height,width"),
        (["export", "vgg16_cifar", "--out", "x.onnx", "--form", "fast"], "'--form': 'fast' is not one of 'auto',"),
        (["profile", "vgg16_cifar", "--input", "3,8,8"], "the model does not take this input"),
        (["deploy", "vgg16_cifar", "--out", "x", "--weights", "/no/such"], "looked for the weights /no/such"),
        (["deploy", "vgg16_cifar", "--out", "x", "--input", "3,8,8"], "the model does not take the example of shape"),
        (["deploy", "vgg16_cifar"], "Missing option '--out'"),
        (["table", "table-9"], "unknown table 'table-9'; there is vgg16-cifar10"),
        (
            ["export", "resnet20_cifar", "--out", "x.onnx", "--form", "fast"],
            "'fast' is not one of 'auto', 'grouped', 'sliced', 'dense', 'native'",
        ),
        (["export", "resnet20_cifar", "--out", "x.onnx", "--input", "1,8,8"], "the model does not take an example"),
        (["export", "resnet20_cifar", "--out", "x.onnx", "--weights", "/no/such"], "looked for the weights /no/such"),
        (["quantize", "/no/such.onnx", "--out", "x.onnx"], "looked for the ONNX file /no/such.onnx"),
        (["bench", "resnet20_cifar", "--runtimes", "tvm"], "runtime 'tvm' is not known"),
        (["bench", "resnet20_cifar", "--threads", "1,0"], "--threads '1,0' must be numbers between 1 and 1024, or all"),
        (["bench", "resnet20_cifar", "--threads", "many"], "--threads 'many' must be whole numbers"),
        (["bench", "resnet20_cifar", "--out", "/tmp/unused", "--input", "1,8,8"], "the model does not take this input"),
        (["report", "/no/such"], "looked for /no/such/results.json"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["profile"], "Missing argument"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [["--retrain-lr", "-1"], ["--prepare-lr", "nan"], ["--lr", "nan"], ["--width", "nan"]]
)
def test_a_wrong_setting_leaves_no_trace(tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it is of a stage that comes last: the corrected command finds no other study in its way."""
    out = tmp_path / "out"
    assert run(["compare", "--out", str(out), "--variants", "dense,l1-50", "vgg16_cifar", *wrong]) == 2
    assert f"={wrong[1]} must be " in capsys.readouterr().err.replace(".0", "")
    assert not out.exists()


def test_shells_complete_commands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--show-completion", "bash"]) == 0
    assert "_HETCONV_COMPLETE=complete_bash" in capfd.readouterr().out
    for name, value in (("_HETCONV_COMPLETE", "complete_bash"), ("COMP_WORDS", "hetconv pr"), ("COMP_CWORD", "1")):
        monkeypatch.setenv(name, value)
    assert run([]) == 0
    assert capfd.readouterr().out.split() == ["profile", "predict"]


@pytest.mark.parametrize("seed", [2**63, 10**30])
def test_a_seed_that_is_too_large_leaves_no_trace(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--out", str(tmp_path / "out"), "--seed", str(seed), *SMALL]) == 2
    assert "--seed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_train_trains_again_where_the_weights_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--out", str(tmp_path), "--variant", "dense", "--seed", str(2**63 - 1), *SMALL]
    assert run(command) == 0
    checkpoint = tmp_path / "runs" / "dense" / f"seed-{2**63 - 1}" / "checkpoint.safetensors"
    checkpoint.unlink()
    capsys.readouterr()
    assert run(command) == 0
    assert "its weights are gone" in " ".join(capsys.readouterr().err.split())
    assert checkpoint.exists()


@pytest.mark.parametrize("group", [[], ["study"]])
def test_the_list_of_commands_cuts_no_sentence_off(
    group: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*group, "--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:")[2]
    assert "Train one variant" in commands or "Run a study" in commands
    assert "..." not in commands


def test_results_that_are_no_numbers_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--out", str(tmp_path), "--variants", "dense", *SMALL]) == 0
    path = tmp_path / "results.json"
    path.write_text(re.sub(r'"accuracy": [0-9.]+', '"accuracy": NaN', path.read_text()))
    capsys.readouterr()
    assert run(["report", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "results.json is damaged: runs.0.epochs.0.accuracy is not a finite number" in error
    assert error.count("\n") == 1


def test_a_diverging_run_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["compare", "--out", str(tmp_path), "--variants", "dense", "--lr", "1e30", "--warmup-epochs", "0", *SMALL])
        == 1
    )
    assert "1 of 1 runs failed: dense seed 0" in capsys.readouterr().err


COMPARE = [
    "compare", "holds:Holds", "--out", "out", "--variants", "dense", "--train-limit", "64", "--epochs", "4",
    "--batch-size", "32", "--threads", "1",
]  # fmt: skip
IN_A_PROCESS = [sys.executable, "-P", "-m", "hetconv", *COMPARE]


@pytest.fixture
def holding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a network that stands still in its second epoch."""
    (tmp_path / "holds.py").write_text(HOLDS)
    hold(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "holds", raising=False)
    return tmp_path


STOPPED = {"KILL": (signal.SIGKILL, -9), "INT": (signal.SIGINT, 130), "TERM": (signal.SIGTERM, 143)}
"""Signals, and the exit codes after them."""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    "signals", [["KILL", "INT"], pytest.param([*STOPPED], marks=pytest.mark.nightly)], ids="-".join
)
def test_kill_9_ctrl_c_and_sigterm_lose_nothing(
    signals: list[str], holding: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the second epoch, in the second after that, and again, the run goes on from what was stored.

    SIGTERM ends a study in tests/cli/test_study.py, and a comparison is a study of one network.
    """
    for signal_, code in map(STOPPED.__getitem__, signals):
        process = start(IN_A_PROCESS, holding)
        wait_until_it_holds(holding, process)
        process.send_signal(signal_)
        _, error = process.communicate()
        assert process.returncode == code, error
        assert "Traceback" not in error
        if signal_ != signal.SIGKILL:
            assert "stopped; the same command goes on from the last stored epoch" in error.splitlines()[-1]
        hold(holding, 2)
    (holding / "hold").unlink()
    assert run(COMPARE) == 0
    said = capsys.readouterr()
    assert f"dense seed 0: going on after epoch {len(signals)}" in said.err
    assert "report.html" in said.out
    assert len(load_record(Run, holding / "out" / "runs" / "dense" / "seed-0" / "run.json").epochs) == 4


def test_a_network_that_changed_meanwhile_is_one_line(holding: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = "time.sleep(0.01)"
    assert ends in HOLDS
    (holding / "holds.py").write_text(HOLDS.replace(ends, "raise KeyboardInterrupt"))
    assert run(COMPARE) == 130
    (holding / "hold").unlink()
    del sys.modules["holds"]
    (holding / "holds.py").write_text(HOLDS.replace("WIDTH = 8", "WIDTH = 12"))
    capsys.readouterr()
    assert run(COMPARE) == 2
    error = capsys.readouterr().err
    assert "checkpoint.safetensors is a checkpoint of another network than this one (layers.0.weight" in error
    assert "(8, 3, 3, 3) there and (12, 3, 3, 3) here" in " ".join(error.split())


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which a comparison has ended."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "holds.py").write_text(HOLDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delitem(sys.modules, "holds", raising=False)
        assert run(COMPARE) == 0
    return folder


@pytest.mark.parametrize(
    "shell",
    [
        pytest.param("{} | true", marks=pytest.mark.nightly),
        pytest.param("{} >&-", marks=pytest.mark.nightly),
        "{} >&- 2>&-",
        "PYTHONIOENCODING=ascii {} 2>&1 | head -c 1",
    ],
)
def test_an_output_that_nobody_reads_keeps_no_page_from_being_written(
    compared: Path, tmp_path: Path, shell: str
) -> None:
    """Nor, where nothing at all is read, from being trained for."""
    folder = shutil.copytree(compared, tmp_path / "compared")
    (folder / "out" / "report.html").unlink()
    if "2>&-" in shell:
        shutil.rmtree(folder / "out")
    command = shell.format(shlex.join(IN_A_PROCESS))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "<html" in (folder / "out" / "report.html").read_text()
