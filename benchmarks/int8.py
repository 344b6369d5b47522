"""Time 8 bits against float32 in the same runtimes, in turns: ONNX Runtime, and torchao's PT2E flow through Inductor.

python benchmarks/int8.py benchmarks/results/int8-vgg16.json --width 0.5

Weights are as they are made: times do not depend on them. Outputs are compared with the float network's before anything
is timed. torchao is left out, with the reason in the record, where it is not installed (pip install torchao).
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hetconv.cost import complexity, latency
from hetconv.errors import HetconvError
from hetconv.export import export_onnx
from hetconv.lab.compress.float_onnx import in_onnx_runtime
from hetconv.lab.compress.runtime_network import RuntimeNetwork
from hetconv.lab.models import create_model
from hetconv.lab.results import BenchEntry, BenchResults
from hetconv.lab.train import load_data
from hetconv.quantize import quantize_onnx
from hetconv.records import save_record

LARGEST_ERROR = 0.25
"""Of 8 bits, over the largest output: above it the flow did something else than quantize."""
PACKAGES = ("onnxruntime", "torchao")


class ChannelsLast(nn.Module):
    """The network in the memory format that PyTorch's convolutions are fastest in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x.to(memory_format=torch.channels_last))
        return y


class Called(nn.Module):
    """A network that is for inference already, and will not be asked to be: exported ones refuse `eval`."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.calls = (call,)

    def forward(self, x: Tensor) -> Tensor:
        return self.calls[0](x)


def onnx_int8(model: nn.Module, images: Tensor, threads: int) -> nn.Module:
    with tempfile.TemporaryDirectory() as scratch:
        exported, quantized = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        export_onnx(model, images[:1], exported, threads=threads)
        labels = torch.zeros(len(images), dtype=torch.long)
        quantize_onnx(exported, quantized, images, [(images, labels)], threads=threads)
        return RuntimeNetwork(quantized.read_bytes(), threads)


def inductor_float(model: nn.Module, images: Tensor, batch_size: int) -> nn.Module:
    return compiled(torch.export.export(model, (images[:batch_size],)).module(), images[:batch_size])


def inductor_int8(model: nn.Module, images: Tensor, batch_size: int) -> nn.Module:
    """torchao's PT2E flow as its documentation has it for x86: export, prepare, calibrate, convert, compile."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(reduce_range=True))
    prepared = prepare_pt2e(torch.export.export(model, (images[:batch_size],)).module(), quantizer)
    for at in range(0, len(images) - batch_size + 1, batch_size):
        prepared(images[at : at + batch_size])
    return compiled(convert_pt2e(prepared), images[:batch_size])


def compiled(model: nn.Module, example: Tensor) -> nn.Module:
    """Compiled with its weights as constants, without which Inductor does not use its 8-bit kernels."""
    import torch._inductor.config

    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        made = torch.compile(model)
        made(example)
    return Called(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--images", type=int, default=64, help="that ranges are taken from")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images = next(iter(load_data("digits").test_loader(given.images)))[0]
    size = given.batch_size
    entries: list[BenchEntry] = []
    models: dict[str, nn.Module] = {}
    macs: dict[str, int] = {}
    errors: dict[str, float] = {}

    def add(runtime: str, variant: str, expected: Tensor, make: Callable[[], nn.Module], remark: str) -> None:
        try:
            with torch.no_grad():
                made = make()
                error = float((made(images[: given.batch_size]) - expected).abs().max() / expected.abs().max())
            if not error <= LARGEST_ERROR:
                raise HetconvError(f"outputs are off by {error:.2g} of the largest")
        except Exception as error:  # whatever somebody else's flow does
            told = " ".join(str(error).split())[:300]
            entries.append(BenchEntry(runtime, variant, reason=f"{type(error).__name__}: {told}", remark=remark))
            print(entries[-1])
            return
        models[f"{runtime} {variant}"], errors[f"{runtime} {variant}"] = made, error
        entries.append(BenchEntry(runtime, variant, remark=remark, error=error))
        print(f"{runtime} {variant}: ready, off by {error:.2g}")

    for variant in ("dense", "het-p4"):
        model = create_model("vgg16_cifar", variant, width=given.width)
        model.train()
        with torch.no_grad():
            for _ in range(10):  # batch norm's statistics
                model(images)
        model.eval()
        macs[variant] = complexity(model, (3, 32, 32)).macs
        with torch.no_grad():
            expected = model(images[: given.batch_size])
        add("pytorch", variant, expected, lambda m=model: ChannelsLast(m), "float32, eager, channels-last")
        add("onnxruntime", variant, expected, lambda m=model: in_onnx_runtime(m, images[:1], 1), "float32")
        add("onnxruntime-int8", variant, expected, lambda m=model: onnx_int8(m, images, 1), "7-bit weights by channel")
        if variant == "dense":
            add("inductor", variant, expected, lambda m=model: inductor_float(m, images, size), "float32, frozen")
            add("inductor-int8", variant, expected, lambda m=model: inductor_int8(m, images, size), "torchao PT2E, x86")
    report = latency(models, images[: given.batch_size], samples=given.samples, memory_format="contiguous")
    entries = [replace(entry, latency=report.latencies.get(f"{entry.runtime} {entry.variant}")) for entry in entries]
    versions = dict(report.circumstances.versions)
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    where = replace(report.circumstances, versions=versions)
    save_record(
        BenchResults("vgg16_cifar", (3, 32, 32), 10, given.width, tuple(macs), macs, where, tuple(entries)), given.out
    )
    base = report.latencies["onnxruntime dense"].median_ms
    for entry in entries:
        if entry.latency is not None:
            time = entry.latency
            print(
                f"{entry.runtime:18} {entry.variant:7} {time.median_ms:7.3f} ms ({time.p20_ms:.3f}–{time.p80_ms:.3f}), "
                f"{base / time.median_ms:.2f}× ONNX Runtime's dense float"
            )


if __name__ == "__main__":
    main()
