import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hetconv.bench import Bench
from hetconv.cli import run
from hetconv.records import BenchEntry, BenchResults, Circumstances, Latency, Run, load_record

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
    from hetconv.models import create_model
    from hetconv.train.checkpoint import load_checkpoint, read_header

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
    for word in ("313.74 M", "93.93", "CVPR 2019", "nothing measured"):
        assert word in printed


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 0
    assert "0 outside their error budget" in capsys.readouterr().out


def test_deploy_takes_a_trained_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from hetconv import load_deployed
    from hetconv.models import create_model
    from hetconv.ops import native
    from hetconv.train.checkpoint import load_weights

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
    assert "holds the weights of another model: " in capsys.readouterr().err


def test_train_export_and_quantize(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "resnet20_cifar", "--width", "0.25"]
    assert run(["train", "--out", str(tmp_path), "--variant", "het-p4", *small[:2], *SMALL]) == 0
    weights = str(next(tmp_path.rglob("*.safetensors")))
    whole, small8 = str(tmp_path / "whole.onnx"), str(tmp_path / "int8.onnx")
    arguments = ["export", "resnet20_cifar", "--width", "0.25", "--weights", weights, "--out", whole, "--form", "dense"]
    assert run(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "HetConv layers: 18, dense" in printed
    assert "compared with the model: onnxruntime" in printed
    assert run(["quantize", whole, "--out", small8, "--calibration-images", "64"]) == 0
    assert "accuracy on 360 images" in capsys.readouterr().out
    assert run(["export", "resnet20_cifar", "--weights", weights, "--out", whole]) == 2
    assert "holds the weights of another model" in capsys.readouterr().err


def test_bench_ends_in_a_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--width", "0.25", "--input", "3,16,16", "--rounds", "1", "--runtimes", "torch_eager"]
    assert run(["bench", "resnet20_cifar", "--out", str(tmp_path), *options]) == 0
    assert "Times as fast" in " ".join(capsys.readouterr().out.split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bench.json", "bench.md", "bench.png"]


def test_bench_with_several_numbers_of_threads_keeps_each_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hetconv.bench.bench_in_turns", lambda several, notice: tuple(map(measured, several)))
    assert run(["bench", "resnet20_cifar", "--threads", "1,3,1", "--out", str(tmp_path)]) == 0
    names = [f"bench-threads-{count}.{kind}" for count in (1, 3) for kind in ("json", "md", "png")]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert "1 thread" in (tmp_path / "bench-threads-1.md").read_text()
    assert capsys.readouterr().out.count("Times as fast") == 2


def measured(settings: Bench) -> BenchResults:
    at = Circumstances("2026-01-01", "a processor", 4, settings.threads, "cpu", "float32", "own", 1, {})
    entries = (BenchEntry("PyTorch", "dense", latency=Latency(1.0, 0.9, 1.1, 20, "own"), error=1e-7),)
    return BenchResults(settings.model, settings.input_size, 10, 1.0, ("dense",), {"dense": 1000}, at, entries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--variants", "het-4"], "unknown variant 'het-4' (did you mean het-p4?)"),
        (["compare", "--variants", ""], "unknown variant ''"),
        (["compare", "--data", "mnist"], "unknown data set 'mnist'"),
        (["compare", "--data", "cifar10:/no/such"], "looked for the folder /no/such"),
        (["compare", "--model", "resnet51"], "unknown network 'resnet51'"),
        (["compare", "--lr", "-1"], "learning_rate=-1.0 must be at least 0"),
        (["compare", "--schedule", "step", "--step-epochs", "5,x"], "--step-epochs '5,x' must be whole numbers"),
        (["compare", "--seeds", "0"], "--seeds"),
        (["compare", "--out", "/proc/nothing/here"], "cannot write to /proc/nothing/here"),
        (["compare", "--variants", "dense,l1-100"], "l1-100: share=1 must be above 0 and below 1"),
        (["compare", "--variants", "dense,l1-a"], "l1-a: l1-a is set down for VGG-16"),
        (["compare", "--variants", "gwc4-pwc-connection-90"], "is a grouped convolution, which is not run sparse"),
        (["compare", "--variants", "l1-50x2"], "l1-50x2: only afp and connection go in rounds"),
        (["profile", "vgg16_cifar", "--input", "3,32"], "--input '3,32' must be channels,height,width"),
        (["profile", "vgg16_cifar", "--input", "3,8,8"], "the model does not take this input"),
        (["deploy", "vgg16_cifar", "--out", "x", "--weights", "/no/such"], "looked for the weights /no/such"),
        (["deploy", "vgg16_cifar", "--out", "x", "--input", "3,8,8"], "the model does not take the example of shape"),
        (["deploy", "vgg16_cifar"], "Missing option '--out'"),
        (["table", "table-9"], "unknown table 'table-9'; there is vgg16-cifar10"),
        (
            ["export", "resnet20_cifar", "--out", "x.onnx", "--form", "fast"],
            "form='fast' must be auto, grouped, sliced",
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


def test_a_diverging_run_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["compare", "--out", str(tmp_path), "--variants", "dense", "--lr", "1e30", "--warmup-epochs", "0", *SMALL])
        == 1
    )
    assert "1 of 1 runs failed: dense seed 0" in capsys.readouterr().err


def start(out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hetconv", "compare", "--out", str(out), "--variants", "dense", "--threads", "1"]
    options = ["--width", "0.25", "--train-limit", "64", "--epochs", "60", "--batch-size", "32"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epochs(out: Path, count: int) -> None:
    record = out / "runs" / "dense" / "seed-0" / "run.json"
    for _ in range(1200):
        if record.exists() and len(load_record(Run, record).epochs) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run did not begin")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_kill_9_and_ctrl_c_lose_nothing(tmp_path: Path) -> None:
    """Killed, then interrupted, then run to the end: no epoch that was stored is trained twice. Stored are the first
    epoch, and the first after going on."""
    out = tmp_path / "out"
    killed = start(out)
    wait_for_epochs(out, 1)
    killed.kill()
    killed.communicate()
    kept = len(load_record(Run, out / "runs" / "dense" / "seed-0" / "run.json").epochs)
    interrupted = start(out)
    wait_for_epochs(out, kept + 1)
    interrupted.send_signal(signal.SIGINT)
    _, error = interrupted.communicate()
    assert interrupted.returncode == 130
    assert "stopped; the same command goes on" in error.splitlines()[-1]
    assert "Traceback" not in error
    finished = start(out)
    printed, error = finished.communicate()
    assert finished.returncode == 0, error
    assert "dense seed 0: going on after epoch" in error
    assert "report.html" in printed
