"""Measuring in fresh processes: the figures' form, and every way in which a runtime may fail."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from hetconv.clock import WARMUP_CALLS
from hetconv.errors import UsageError
from hetconv.lab.bench import RUNNERS, Bench, bench, bench_in_turns, registry
from hetconv.lab.bench import measure as module
from hetconv.lab.bench.measured_network import Network
from hetconv.lab.bench.runners import ncnn_runtime
from hetconv.lab.results import BenchEntry
from hetconv.runtimes import why_not

SMALL = {"network": "resnet20_cifar", "input_size": (3, 16, 16), "width": 0.25, "rounds": 2}


@pytest.fixture(scope="module")
def results():
    network = {"network": "vgg16_cifar", "input_size": (3, 32, 32), "width": 0.125, "rounds": 2}  # exported the soonest
    return bench(Bench(variants=("dense", "het-p4"), runtimes=("torch_eager", "onnx_runtime"), **network))


@pytest.fixture
def _fake_is_known(monkeypatch):
    monkeypatch.setattr("hetconv.lab.settings.bench.RUNNERS", ("fake", *RUNNERS))


def test_every_runtime_runs_every_variant(results):
    assert [(entry.runtime, entry.variant) for entry in results.entries] == [
        ("PyTorch", "dense"), ("PyTorch", "het-p4"), ("ONNX Runtime", "dense"), ("ONNX Runtime", "het-p4"),
    ]  # fmt: skip
    for entry in results.entries:
        assert entry.reason is None
        assert entry.latency.samples == 2
        assert 0 < entry.latency.p20_ms <= entry.latency.median_ms <= entry.latency.p80_ms
        assert entry.cold_start_ms > entry.latency.median_ms
        assert entry.peak_bytes > 1e7
        assert entry.error < 1e-4


def test_both_precisions_are_measured_where_the_runtime_has_them():
    network = {"network": "vgg16_cifar", "input_size": (3, 32, 32), "width": 0.125, "rounds": 2}
    runtimes = ("deployed", "torch_eager", "onnx_runtime", "onnx_runtime_native")
    found = bench(Bench(variants=("het-p4",), runtimes=runtimes, precisions=("float32", "int8"), **network))
    assert found.variants == ("het-p4", "het-p4 int8")
    assert found.circumstances.dtype == "float32 and int8"
    assert found.macs["het-p4"] == found.macs["het-p4 int8"]
    entries = {(entry.runtime, entry.variant): entry for entry in found.entries}
    assert entries["PyTorch", "het-p4 int8"].reason == "it is not measured in int8"
    for runtime in ("hetconv deployed", "ONNX Runtime", "ONNX Runtime, native"):
        exact, rounded = entries[runtime, "het-p4"], entries[runtime, "het-p4 int8"]
        assert (exact.reason, rounded.reason) == (None, None)
        assert exact.error < 1e-4 < rounded.error < 0.25
        assert rounded.latency.median_ms > 0


def test_a_precision_that_is_not_known_is_refused():
    with pytest.raises(UsageError, match="precision='int4' must be of float32, int8"):
        Bench("resnet20_cifar", precisions=("int4",))


def test_an_int8_output_that_is_far_off_is_a_line(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_INT8_ERROR", 0.0)
    (entry,) = bench(Bench(variants=("het-p4",), runtimes=("deployed",), precisions=("int8",), **SMALL)).entries
    assert entry.latency is None
    assert "hetconv deployed in 8 bits differs by" in entry.reason


def test_an_onnx_process_holds_no_torch(results):
    """What is measured is the runtime: its process is smaller than PyTorch's, which holds all of hetconv."""
    peaks = {entry.runtime: entry.peak_bytes for entry in results.entries}
    assert peaks["ONNX Runtime"] < peaks["PyTorch"] / 2


def test_numbers_of_threads_in_the_same_turns():
    one = Bench(variants=("het-p4",), runtimes=("torch_eager",), **SMALL)
    found = bench_in_turns((one, replace(one, threads=2)))
    assert [results.circumstances.threads for results in found] == [1, 2]
    for results in found:
        (entry,) = results.entries
        assert (entry.reason, entry.latency.samples) == (None, 2)
    with pytest.raises(UsageError, match="must have the same rounds"):
        bench_in_turns((one, replace(one, rounds=3)))


def test_forms_and_formats_are_remarked(results):
    remarks = {(entry.runtime, entry.variant): entry.remark for entry in results.entries}
    assert remarks["ONNX Runtime", "dense"] == ""
    assert remarks["ONNX Runtime", "het-p4"].partition(":")[0] in ("grouped", "sliced", "dense", "mixed")
    assert remarks["PyTorch", "dense"] in ("channels last", "contiguous")


def test_circumstances_and_counts(results):
    assert results.circumstances.threads == 1
    assert {"torch", "onnxruntime", "onnx"} <= set(results.circumstances.versions)
    assert results.macs["dense"] > results.macs["het-p4"]


@pytest.mark.parametrize("name", RUNNERS)
def test_runners_are_modules_that_load_without_hetconv(name):
    runner = registry.find_runner(name)
    heads = [line for line in runner.path.read_text().splitlines() if line.startswith(("import ", "from "))]
    assert not [
        line
        for line in heads
        if line.split()[1].split(".")[0] not in ("__future__", "collections", "pathlib", "typing", "subprocess")
    ]
    assert runner.title
    assert runner.packages


LOADS = {
    "zeros": (
        "return lambda x: np.zeros((len(x), 10), np.float32)",
        "differs from the original in float64 by 1 for a batch of 1",
    ),
    "shape": (
        "return lambda x: np.zeros((len(x), 9), np.float32)",
        "returns (1, 9) for a batch of 1, the model (1, 10)",
    ),
    "raises": ("raise ValueError('no such operator: HetConv')", "ValueError: no such operator: HetConv"),
    "dies": ("import os; os._exit(3)", "its process ended with code 3 and said nothing"),
    "crashes": ("import os; os.abort()", "its process was ended by SIGABRT"),
    "crashes when timed": (
        """
    from hetconv.lab.bench.measured_network import Network
    model, calls = Network.load(folder)[1], []
    def run(x):
        calls.append(1)
        if len(calls) > 1:
            import os
            os.abort()
        return model(__import__('torch').from_numpy(x)).detach().numpy()
    return run
""",
        "while it was timed: its process was ended by SIGABRT",
    ),
}
PREPARES = {
    "raises": ("raise RuntimeError('no such\\noperator')", "RuntimeError: no such operator (runner.py line 4)"),
    "refuses": ("from hetconv.errors import HetconvError; raise HetconvError('it is refused')", "it is refused"),
    "leaves": ("import os; os._exit(0)", "its process ended with code 0 and said nothing"),
    "crashes": ("import os; print('noise', flush=True); os.abort()", "its process was ended by SIGABRT"),
}


def fake_runner(path, prepare="return ''", load=""):
    path.write_text(
        f"import numpy as np\n\ndef prepare(folder, threads):\n    {prepare}\n\n"
        f"def load(folder, threads):\n    print('noise on standard output')\n    {load}\n"
    )
    fake = types.ModuleType("fake")
    fake.TITLE, fake.PACKAGES, fake.__file__ = "Fake", {}, str(path)
    return lambda name: registry.Runner(name, fake) if name == "fake" else registry.find_runner(name)


@pytest.mark.parametrize("kind", LOADS)
@pytest.mark.usefixtures("_fake_is_known")
def test_runtimes_that_fail_are_a_line_and_not_timed(kind, tmp_path, monkeypatch):
    body, reason = LOADS[kind]
    monkeypatch.setattr(module, "find_runner", fake_runner(tmp_path / "runner.py", load=body))
    (entry,) = bench(Bench(variants=("het-p4",), runtimes=("fake",), **SMALL)).entries
    assert entry.latency is None
    assert reason in entry.reason


@pytest.mark.parametrize("kind", PREPARES)
@pytest.mark.usefixtures("_fake_is_known")
def test_runtimes_that_fail_while_they_are_prepared_are_a_line(kind, tmp_path, monkeypatch):
    """Also where the process dies of it."""
    body, reason = PREPARES[kind]
    monkeypatch.setattr(module, "find_runner", fake_runner(tmp_path / "runner.py", prepare=body))
    (entry,) = bench(Bench(variants=("dense",), runtimes=("fake",), **SMALL)).entries
    assert (entry.latency, entry.reason) == (None, reason)


@pytest.mark.parametrize("where", [{"prepare": "import os; os.abort()"}, {"load": LOADS["crashes when timed"][0]}])
@pytest.mark.usefixtures("_fake_is_known")
def test_the_others_results_stand(where, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_runner", fake_runner(tmp_path / "runner.py", **where))
    found = bench(Bench(variants=("dense",), runtimes=("fake", "torch_eager"), **SMALL))
    assert [(entry.runtime, entry.latency is None) for entry in found.entries] == [("Fake", True), ("PyTorch", False)]


@pytest.mark.parametrize(("code", "empty"), [(0, False), (-100, False), (0, True)])
def test_ncnns_return_codes_are_read(code, empty, tmp_path, monkeypatch):
    """It does not raise, and what it gives after a failure is no matrix."""

    class Matrix:
        def empty(self):
            return empty

        def __array__(self, dtype=None, copy=None):
            return np.ones(2)

    ncnn = types.ModuleType("ncnn")
    extractor = types.SimpleNamespace(input=lambda *_: 0, extract=lambda _: (code, Matrix()))
    ncnn.Net = lambda: types.SimpleNamespace(
        opt=types.SimpleNamespace(), load_param=lambda _: 0, load_model=lambda _: 0, create_extractor=lambda: extractor
    )
    ncnn.Mat = lambda image: types.SimpleNamespace(clone=lambda: image)
    monkeypatch.setitem(sys.modules, "ncnn", ncnn)
    run = ncnn_runtime.load(tmp_path, 1)
    if code == 0 and not empty:
        assert run(np.zeros((3, 1))).tolist() == [[1, 1]] * 3
    else:
        with pytest.raises(RuntimeError, match="extract fails with code -100" if code else "extract gives nothing"):
            run(np.zeros((1, 1)))


@pytest.mark.usefixtures("_fake_is_known")
def test_a_runtime_that_is_missing_or_old_is_a_line(monkeypatch):
    fake = types.ModuleType("fake")
    fake.TITLE, fake.PACKAGES, fake.__file__ = "Fake", {"torch": "99.0", "nosuchpackage": "1"}, __file__
    monkeypatch.setattr(module, "find_runner", lambda name: registry.Runner(name, fake))
    (entry,) = bench(Bench(variants=("dense",), runtimes=("fake",), **SMALL)).entries
    assert "is too old, 99.0 is needed: pip install --upgrade torch" in entry.reason
    assert why_not("nosuchpackage") == "nosuchpackage is not installed: pip install nosuchpackage"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"threads": -1}, "threads=-1 must be at least 1"),
        ({"variants": ()}, "must name at least one variant"),
        ({"runtimes": ()}, "runtimes='' must name at least one runtime, and each once"),
        ({"runtimes": ("torch_eager", "torch_eager")}, "must name at least one runtime, and each once"),
        ({"variants": ("dense", "dense")}, "and each once"),
        ({"runtimes": ("tflite",)}, "runtime 'tflite' is not known; there is deployed, torch_eager,"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(UsageError) as error:
        Bench(**(SMALL | changes))
    assert message in str(error.value)


def test_networks_are_the_same_in_every_process(tmp_path):
    network = Network("resnet20_cifar", "het-p4", (3, 16, 16), width=0.25)
    model = network.create()
    network.save(model, tmp_path)
    found, loaded = Network.load(tmp_path)
    assert found == network
    x = network.example()
    assert np.array_equal(model(x).detach().numpy(), loaded(x).detach().numpy())


@pytest.mark.parametrize("name", ["onnx_runtime_native", "open_vino", "ncnn_runtime"])
def test_other_runtimes_where_they_are(name):
    reason = registry.find_runner(name).why_not("float32")
    if reason is not None:
        pytest.skip(reason)
    settings = Bench("vgg16_cifar", ("dense",), (3, 32, 32), width=0.125, rounds=1, runtimes=(name,))
    (entry,) = bench(settings).entries
    assert entry.reason is None
    assert entry.latency.median_ms > 0


@pytest.mark.parametrize(("threads", "settles"), [((1,), False), ((1, 2), True)])
def test_a_turn_begins_when_the_last_ones_threads_sleep(threads, settles, monkeypatch):
    done = []

    class Running:
        """A call of it takes 10 ms."""

        def milliseconds(self, calls):
            done.append(calls)
            return 10.0

        def close(self):
            pass

    monkeypatch.setattr(module.time, "sleep", lambda seconds: done.append(f"{seconds} s"))
    entry = BenchEntry("torch_eager", "dense")
    monkeypatch.setattr(module, "_started", lambda *_: (entry, Running()))
    bench_in_turns([Bench(variants=("dense",), threads=n, runtimes=("torch_eager",), **SMALL) for n in threads])
    settle = f"{module.SETTLE_SECONDS if settles else 0.0} s"
    warm, turn = [settle, 1, 1], [settle, 1, 3]  # three calls are 30 ms, and one before them
    assert done == warm * WARMUP_CALLS * len(threads) + turn * 2 * len(threads)


@pytest.mark.skipif(why_not("ncnn") is not None, reason="ncnn is not installed")
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("ReLU a 1 1 in0 out0", 1.0),  # in place, on the batch's own memory
        ("ReLU a 1 1 in0 other", "extract fails with code -1"),
        ("Convolution a 1 1 in0 out0 0=4 1=3 6=108", "load_model fails with code"),
        ("NoSuchLayer a 1 1 in0 out0", "load_param fails with code -1"),
    ],
)
def test_what_ncnn_cannot_run_is_an_error(tmp_path, layer, expected):
    (tmp_path / "ncnn_runtime.ncnn.param").write_text(f"7767517\n2 2\nInput in0 0 1 in0\n{layer}\n")
    (tmp_path / "ncnn_runtime.ncnn.bin").write_bytes(b"")
    images = np.ones((2, 3, 8, 8), np.float32)
    if isinstance(expected, str):
        with pytest.raises(RuntimeError, match=expected):
            ncnn_runtime.load(tmp_path, 1)(images)
    else:
        assert np.array_equal(ncnn_runtime.load(tmp_path, 1)(images), images)
