"""Check and measure HetConv on a GPU: values, the device's ceilings, layers, whole networks; a table at the end.

    python benchmarks/gpu.py --out gpu.jsonl            everything; under ten minutes
    python benchmarks/gpu.py --out gpu.jsonl --smoke    the same on tiny sizes, on the CPU where there is no GPU: its
                                                        times mean nothing, it shows that the run does not fail

Every row is written as soon as it is measured. A shape that fails is a row with its error, and the run goes on; where
it takes the process with it, or blocks, the next ones run in a new process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from gpu_table import table
from peers import GroupedPlusPointwise, dense, depthwise_pointwise
from shapes import RESNET, SETS, LayerShape
from survive import begins, done, run_jobs
from torch import Tensor, nn

from hetconv import HetConv2d, convert_, create_model, het_conv2d
from hetconv.cost.circumstances import circumstances
from hetconv.ops.arguments import geometry
from hetconv.ops.check import check
from hetconv.ops.gpu.tuning import choices
from hetconv.ops.gpu.weights import pack_for_inference
from hetconv.ops.packed import het_conv2d_packed, layer_numbers

Call = Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """What is measured, on which device, for how long at most."""

    device: torch.device
    dtype: torch.dtype
    batch: int
    training_batch: int
    parts: tuple[int, ...]
    shapes: tuple[LayerShape, ...]
    networks: tuple[tuple[str, int, int], ...]
    rounds: int
    sample_ms: float
    copy_bytes: int
    matrix_size: int
    seconds: float
    compiled: bool


LAYERS = (*SETS["vgg224"][1:7], *RESNET, *SETS["vgg32"][2:7])
NETWORKS = (("vgg16_cifar", 32, 512), ("vgg16_bn", 224, 64), ("resnet34", 224, 64), ("resnet50", 224, 64))
"""(name, image size, batch)"""


def plan(smoke: bool, seconds: float, dtype: torch.dtype) -> Plan:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not smoke:
        return Plan(device, dtype, 64, 512, (4, 8), LAYERS, NETWORKS, 7, 4.0, 2**30, 8192, seconds, True)
    tiny = (LayerShape("smoke", 16, 16, 8), LayerShape("smoke", 16, 32, 8, 2))
    networks = (("resnet20_cifar", 16, 2),)
    return Plan(device, dtype, 2, 2, (4, 8), tiny, networks, 2, 0.1, 2**20, 64, seconds, False)


def timed(calls: dict[str, Call], device: torch.device, rounds: int, sample_ms: float) -> dict[str, float]:
    """Milliseconds of each call: the median of rounds in which every call has its turn, after two calls to warm up."""
    repeats = {}
    for name, call in calls.items():
        for _ in range(2):
            call()
        repeats[name] = max(1, min(200, round(sample_ms / max(_elapsed(call, 1, device), 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_elapsed(call, repeats[name], device))
    return {name: statistics.median(values) for name, values in times.items()}


def _elapsed(call: Call, repeats: int, device: torch.device) -> float:
    """Milliseconds of one of `repeats` calls."""
    if device.type != "cuda":
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return 1000 * (time.perf_counter() - begin) / repeats
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / repeats


def graphed(call: Call, device: torch.device) -> Call:
    """The call as a CUDA graph, so that launches from Python are not in a layer's time; the call itself on a CPU."""
    if device.type != "cuda":
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def ceilings(todo: Plan) -> dict[str, float]:
    """What the device itself reaches: bytes a second of a copy, multiply-adds a second of a matrix product."""
    source = torch.empty(todo.copy_bytes, dtype=torch.uint8, device=todo.device)
    target = torch.empty_like(source)
    n = todo.matrix_size
    a, b = (torch.randn(n, n, device=todo.device).to(todo.dtype) for _ in range(2))
    calls: dict[str, Call] = {"copy": lambda: target.copy_(source), "matrix": lambda: a @ b}
    ms = timed(calls, todo.device, todo.rounds, 5 * todo.sample_ms)
    return {"copy_gb_per_s": 2e-6 * todo.copy_bytes / ms["copy"], "matrix_tmacs_per_s": 1e-9 * n**3 / ms["matrix"]}


def values(todo: Plan) -> dict[str, object]:
    """As much of `hetconv.ops.check` as its time allows: forward and every gradient against float64, in three types."""
    failed, rows = [], 0
    torch.use_deterministic_algorithms(True)  # one configuration each: all of them would take too long to compile
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    try:
        for dtype in (torch.float32, torch.bfloat16, torch.float16)[: None if todo.compiled else 1]:
            begin = time.perf_counter()
            for row in check(dtype, todo.device.type):
                if time.perf_counter() - begin > todo.seconds / 40:
                    break
                rows += 1
                if not row.passed:
                    failed.append(f"{dtype} {row.case} {row.backend} {row.tensor}: {row.error:.3g} > {row.budget:.3g}")
    finally:
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(False)
    return {"compared": rows, "failed": failed[:20], "failures": len(failed)}


def floor_ms(shape: LayerShape, batch: int, p: int, itemsize: int, ceiling: dict[str, float]) -> float:
    """The larger of the layer's multiply-adds and of its bytes (input, output, weights) at the device's ceilings."""
    out = (shape.size + shape.stride - 1) // shape.stride
    macs = batch * out * out * shape.in_channels * shape.out_channels * (1 + 8 / p)
    elements = batch * (shape.size**2 * shape.in_channels + out * out * shape.out_channels)
    elements += shape.in_channels * shape.out_channels * (1 + 8 / p)
    return max(1e-9 * macs / ceiling["matrix_tmacs_per_s"], 1e-6 * itemsize * elements / ceiling["copy_gb_per_s"])


def layer_modules(shape: LayerShape, todo: Plan) -> dict[str, nn.Module]:
    sizes = (shape.in_channels, shape.out_channels, 3, shape.stride, 1)
    found: dict[str, nn.Module] = {"dense": dense(shape), "dwc-pwc": depthwise_pointwise(shape)}
    for p in todo.parts:
        found[f"grouped p{p}"] = GroupedPlusPointwise(shape, p)
        found[f"het p{p}"] = HetConv2d(*sizes, p=p, arrangement="blocked")
    found[f"shifted p{todo.parts[0]}"] = HetConv2d(*sizes, p=todo.parts[0], arrangement="shifted")
    return {
        name: module.to(todo.device, todo.dtype, memory_format=torch.channels_last) for name, module in found.items()
    }


def packed_call(layer: HetConv2d, x: Tensor) -> Call:
    """The layer on weights packed before; the layer itself where the GPU kernels do not run."""
    if not x.is_cuda:
        return lambda: layer(x)
    weights = pack_for_inference(layer.weight_spatial, layer.weight_pointwise, layer.pattern)
    where = geometry(layer.stride, layer.padding, layer.dilation, layer.kernel_size)
    numbers = layer_numbers(layer.pattern, where, None)
    return lambda: het_conv2d_packed(x, weights, layer.bias, None, numbers)


def compare(layer: HetConv2d, x: Tensor) -> None:
    """One image against float64, before anything is timed.

    Raises:
        ValueError: the error is above twice that of PyTorch's dense convolution, plus a few roundings.
    """
    with torch.no_grad():
        one = x[:1].contiguous(memory_format=torch.channels_last)
        masked = layer.to_dense().to(memory_format=torch.channels_last)
        usual = masked(one).double()
        exact = masked.double()(one.double())
        # tf32 may round operands where x is float32
        eps = 2**-10 if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
        allowed = 2 * (usual - exact).abs().max() + 8 * eps * exact.abs().max()
        for name, got in (("the layer", layer(one)), ("the packed layer", packed_call(layer, one)())):
            error = (got.double() - exact).abs().max()  # type: ignore[union-attr]
            if not error <= allowed:
                raise ValueError(f"{name} {layer} is off by {error:.3g}; allowed are {allowed:.3g}")


def compare_gradients(layer: HetConv2d, x: Tensor) -> None:
    """The same for the gradients of one image's input and of the weights, which are summed over its pixels.

    Raises:
        ValueError: as `compare`; the message names the gradient.
    """
    one = x[:1].contiguous(memory_format=torch.channels_last).requires_grad_()
    leaves = (one, layer.weight_spatial, layer.weight_pointwise)
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    options = {"stride": layer.stride, "padding": layer.padding, "arrangement": layer.arrangement}
    y = layer(one)
    grad = torch.randn_like(y)
    usual = het_conv2d(*leaves, backend="reference", **options)  # type: ignore[arg-type]
    exact = het_conv2d(*wide, backend="reference", **options)  # type: ignore[arg-type]
    found = torch.autograd.grad(y, leaves, grad)
    peer = torch.autograd.grad(usual, leaves, grad)
    right = torch.autograd.grad(exact, wide, grad.double())
    eps = 2**-10 if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
    for name, ours, theirs, true in zip(("x", "weight_spatial", "weight_pointwise"), found, peer, right, strict=True):
        error = (ours.double() - true).abs().max()
        allowed = 2 * (theirs.double() - true).abs().max() + 8 * eps * true.abs().max()
        if not error <= allowed:
            raise ValueError(f"{layer}: the gradient of {name} is off by {error:.3g}; allowed are {allowed:.3g}")


def warm(todo: Plan, index: int, count: int) -> None:
    """Have the kernels of every count-th shape compiled, which Triton keeps on disk, and nothing else."""
    for shape in todo.shapes[index::count]:
        x = torch.randn(todo.batch, shape.in_channels, shape.size, shape.size, device=todo.device).to(todo.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        for module in layer_modules(shape, todo).values():
            if isinstance(module, HetConv2d):
                _step(module, x)()
                with torch.no_grad():
                    packed_call(module, x)()


def warm_in_parallel(given: argparse.Namespace) -> float:
    """The same in several processes at once; seconds that it took. Failures are left to the measurement to report."""
    begin = time.perf_counter()
    count = 2 if given.smoke else min(8, len(os.sched_getaffinity(0)))
    options = ["--out", str(given.out), "--dtype", given.dtype, *(["--smoke"] if given.smoke else [])]
    command = [sys.executable, __file__, *options, "--warm"]
    workers = [subprocess.Popen([*command, str(index), str(count)]) for index in range(count)]
    for worker in workers:
        try:
            worker.wait(max(1.0, given.seconds / 3 - (time.perf_counter() - begin)))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    return time.perf_counter() - begin


def layer_row(shape: LayerShape, training: bool, todo: Plan, ceiling: dict[str, float]) -> dict[str, object]:
    modules = layer_modules(shape, todo)
    x = torch.randn(todo.batch, shape.in_channels, shape.size, shape.size, device=todo.device).to(todo.dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    explained = ""
    for module in modules.values():
        if isinstance(module, HetConv2d):
            compare(module, x)
            if training:
                compare_gradients(module, x)
            explained = module.explain(x).backend
    calls: dict[str, Call] = {}
    if training:
        for name, module in modules.items():
            calls[name] = _step(module, x)
    else:
        for name, module in modules.items():
            calls[name] = partial(module, x)
            if name.startswith("het"):
                calls[name.replace("het", "packed")] = packed_call(module, x)  # type: ignore[arg-type]
        if todo.compiled:
            calls["dense compiled"] = partial(torch.compile(modules["dense"], dynamic=False), x)
    with torch.set_grad_enabled(training):
        calls = {name: call if training else graphed(call, todo.device) for name, call in calls.items()}
        latency_ms = timed(calls, todo.device, todo.rounds, todo.sample_ms)
    return {
        "kind": "layer",
        **vars(shape),
        "batch": todo.batch,
        "training": training,
        "backend": explained,
        "latency_ms": latency_ms,
        "floor_ms": {f"p{p}": floor_ms(shape, todo.batch, p, todo.dtype.itemsize, ceiling) for p in todo.parts},
    }


def _step(module: nn.Module, x: Tensor) -> Call:
    """Forward and backward pass: gradients of input, weights and bias."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    leaves = (x, *module.parameters())
    grad = torch.ones_like(module(x))
    return lambda: torch.autograd.grad(module(x), leaves, grad, allow_unused=True)


def network_row(name: str, size: int, batch: int, training: bool, todo: Plan) -> dict[str, object]:
    """Forward, or a whole training step: loss, gradients, SGD with momentum; autocast in the plan's type.

    A variant that fails is named in the row, and the others are measured.
    """
    x = torch.randn(batch, 3, size, size, device=todo.device).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 10, (batch,), device=todo.device)
    variants = ["dense", *(["dense compiled"] if todo.compiled and (not training or size == 32) else []), "dwc-pwc"]
    variants += [f"{kind}-p{p}" for p in todo.parts for kind in ("grouped", "het")]
    calls: dict[str, Call] = {}
    failed: dict[str, str] = {}
    for variant in variants:
        try:
            model = _network(name, variant).to(todo.device, memory_format=torch.channels_last)
            call = _train_call(model, x, target, todo.dtype) if training else _infer_call(model, x, todo.dtype)
            call()
            calls[variant] = call
            print(f"         {variant} runs", flush=True)  # a long silence is taken for a process that is blocked
        except Exception as error:
            traceback.print_exc()
            failed[variant] = f"{type(error).__name__}: {error}"
    latency_ms = timed(calls, todo.device, max(2, todo.rounds // 2), todo.sample_ms)
    return {
        "kind": "network",
        "network": name,
        "size": size,
        "batch": batch,
        "training": training,
        "latency_ms": latency_ms,
        "failed": failed,
    }


def _network(name: str, variant: str) -> nn.Module:
    if variant == "dense compiled":
        return torch.compile(create_model(name, num_classes=10), dynamic=False)  # type: ignore[return-value]
    if variant in ("dense", "dwc-pwc"):
        return create_model(name, variant, num_classes=10)
    kind, p = variant.split("-p")
    model = create_model(name, num_classes=10)
    convert_(model, p=int(p), arrangement="blocked")
    return _grouped(model) if kind == "grouped" else model


def _grouped(model: nn.Module) -> nn.Module:
    """The same network with every HetConv as it is usually run: a grouped convolution plus a 1×1."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, HetConv2d) and layer.kernel_size == (3, 3):
            shape = LayerShape("", layer.in_channels, layer.out_channels, 0, layer.stride[0])
            model.set_submodule(name, GroupedPlusPointwise(shape, layer.p))
    return model


def _infer_call(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Call:
    """In the type itself, as a CUDA graph: launches are not what is compared."""
    model.eval().to(dtype)
    x = x.to(dtype)

    def call() -> None:
        with torch.no_grad():
            model(x)

    return graphed(call, x.device)


def _train_call(model: nn.Module, x: Tensor, target: Tensor, dtype: torch.dtype) -> Call:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()

    return call


def jobs(todo: Plan, given: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, object]]]]:
    """What is measured, the most wanted figures first; always the same list."""
    yield "ceilings", lambda: {"kind": "ceilings", **ceilings(todo)}
    yield "values", lambda: {"kind": "values", **values(todo)}

    def layer(shape: LayerShape, training: bool) -> Callable[[], dict[str, object]]:
        return lambda: layer_row(shape, training, todo, known_ceilings(given.out))

    for shape in todo.shapes:
        yield f"{shape}, forward", layer(shape, False)
    name, size, batch = todo.networks[0]
    yield f"{name} {size}, training", partial(network_row, name, size, todo.training_batch, True, todo)
    for name, size, batch in todo.networks:
        yield f"{name} {size}, forward", partial(network_row, name, size, batch, False, todo)
    for name, size, batch in todo.networks[1:]:
        yield f"{name} {size}, training", partial(network_row, name, size, batch, True, todo)
    for shape in todo.shapes:
        yield f"{shape}, training", layer(shape, True)


def known_ceilings(out: Path) -> dict[str, float]:
    """Those that were measured last.

    Raises:
        ValueError: they were not.
    """
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = [row for row in rows if row["kind"] == "ceilings"]
    if not found:
        raise ValueError("there are no ceilings to compare with; their measurement failed")
    return {name: value for name, value in found[-1].items() if name.endswith("_per_s")}


def keep(row: dict[str, object], given: argparse.Namespace, where: dict[str, object] | None = None) -> None:
    with given.out.open("a") as file:
        file.write(json.dumps({**row, "dtype": given.dtype, "circumstances": where}) + "\n")


def work(todo: Plan, given: argparse.Namespace) -> None:
    """The jobs from the first one asked for; in a process that `run_jobs` watches."""
    where = vars(circumstances(todo.device, given.dtype, "channels_last", todo.batch, torch.get_num_threads()))
    begun, told = time.perf_counter(), set()
    for index, (title, job) in enumerate(jobs(todo, given)):
        if index < given.first:
            continue
        begins(index, title)
        if time.time() > given.until:
            keep({"kind": "skipped", "title": title, "reason": f"{given.seconds:.0f} s are over"}, given)
            done(index)
            continue
        try:
            keep({"title": title, **job()}, given, where)
        except Exception as error:  # one shape's failure must not cost the others' figures
            keep({"kind": "failed", "title": title, "error": f"{type(error).__name__}: {error}"}, given)
            traceback.print_exc()
        for key in choices().trials.keys() - told:
            tried = {str(trial.configuration): trial.median_ms or trial.refused for trial in choices().trials[key]}
            keep({"kind": "tuning", "call": str(key), "tried": tried, "chosen": str(choices().chosen[key])}, given)
            told.add(key)
        done(index)
        print(f"{time.perf_counter() - begun:5.0f} s  {title}", flush=True)
        gc.collect()
        torch._dynamo.reset()
        if todo.device.type == "cuda":
            torch.cuda.synchronize()  # a kernel that failed fails whatever comes after it: this process ends here


def check_halo(given: argparse.Namespace) -> None:
    """In a process of its own: a kernel that was never run before may end it."""
    command = [sys.executable, "-m", "hetconv.ops.gpu.halo.admit"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=given.seconds / 4)
        said = (ended.stdout + ended.stderr).strip()[-2000:]
        status: int | None = ended.returncode
    except subprocess.TimeoutExpired:
        said, status = "it was not done in time", None
    keep({"kind": "halo", "status": status, "said": said}, given)
    print(said, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seconds", type=float, default=480, help="nothing new is begun after this time")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--warm", type=int, nargs=2, help=argparse.SUPPRESS)  # a process of warm_in_parallel
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)  # a process of run_jobs
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available() and not given.smoke:
        sys.exit("there is no CUDA device here; --smoke runs the same on the CPU, its times without meaning")
    torch.backends.cudnn.benchmark = True
    if given.warm is not None or given.first is not None:
        todo = plan(given.smoke, given.seconds, getattr(torch, given.dtype))
        work(todo, given) if given.warm is None else warm(todo, *given.warm)
        return
    until = time.time() + given.seconds
    before = given.out.read_text().count("\n") if given.out.exists() else 0
    check_halo(given)
    print(f"kernels compiled in {warm_in_parallel(given):.0f} s", flush=True)
    options = [sys.executable, __file__, "--out", str(given.out), "--dtype", given.dtype]
    options += ["--seconds", str(given.seconds), "--until", str(until), *(["--smoke"] if given.smoke else [])]
    run_jobs(
        lambda first: [*options, "--first", str(first)],
        max(60.0, given.seconds / 5),
        until,
        lambda title, reason: keep({"kind": "failed", "title": title, "error": reason}, given),
    )
    print(table([json.loads(line) for line in given.out.read_text().splitlines()[before:]]))


if __name__ == "__main__":
    main()
