"""One network, dense and with HetConv layers, in float32 and in 8 bits, in every runtime here: timed in turns.

python benchmarks/int8_networks.py out.json --model vgg16_cifar --input 3,32,32 --p 4,8 --rounds 40
python benchmarks/int8_networks.py out.json --model airbench_cifar --data cifar10:~/data --weights dense=A het-p4=B

Without `--weights`, weights are as they are made and batch-norm statistics those of random images: times do not depend
on them. With them, ranges are taken from training images, and each network is evaluated on the test images. Each output
is compared with the float network's before anything is timed. OpenVINO and nncf are left out where they are not there.
The tables in docs/speed.md and README are written of the records benchmarks/results/int8-networks-*.json.
oneDNN and MLAS use AMX where the processor has it; ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI takes it from OpenVINO.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pages import RESULTS, ROOT, write_table
from torch import Tensor, nn

from hetconv.clock import times_in_turns, wall
from hetconv.cost.circumstances import circumstances
from hetconv.deployment import deploy
from hetconv.export import export_onnx
from hetconv.lab.models import create_model
from hetconv.lab.train import Data, load_data
from hetconv.table import NOTHING, Table
from hetconv.weights_file import load_weights

LARGEST_ERROR = 0.25
RUNTIMES = ("hetconv deploy", "ONNX Runtime", "OpenVINO")
PACKAGES = ("torch", "onnxruntime", "openvino", "nncf")
Call = Callable[[Tensor], Any]


def network(name: str, variant: str, images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(name, variant, 10).train()
    with torch.no_grad():
        for _ in range(5):
            model(images)
    return model.eval()


def trained(name: str, named: str, data: Data) -> tuple[str, nn.Module]:
    """Of `variant=file`: the variant and its network."""
    variant, _, file = named.partition("=")
    model = create_model(name, variant, data.num_classes)
    load_weights(Path(file), model)
    return variant, model.eval()


def onnx_runtime(path: Path, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})[0]


def quantized_onnx(path: Path, images: Tensor, folder: Path) -> Path:
    """Activations u8, weights s8 by channel and of all 8 bits: this processor does not saturate."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(images.split(1))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch.numpy()}

    out = folder / f"{path.stem}-int8.onnx"
    quantize_static(path, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip
    return out


def openvino(path: Path, images: Tensor | None, threads: int) -> Call:
    """In 8 bits by nncf where images are given."""
    import openvino as ov

    core = ov.Core()
    model = ov.convert_model(path)
    if images is not None:
        import nncf

        batches = [batch.numpy() for batch in images.split(1)]
        model = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda x: request.infer({0: x.numpy()})[0]


def candidates(
    variants: dict[str, nn.Module], images: Tensor, threads: int, folder: Path
) -> Iterator[tuple[str, str, Callable[[], Call]]]:
    one = images[:1]
    for variant, model in variants.items():
        path = folder / f"{variant}.onnx"

        def exported(model: nn.Module = model, path: Path = path) -> Path:
            if not path.exists():
                export_onnx(model, one, path, threads=threads)
            return path

        made: dict[tuple[str, str], Callable[[nn.Module, Callable[[], Path]], Call]] = {
            ("hetconv deploy", "float32"): lambda model, _: deploy(model, one),
            ("hetconv deploy", "int8"): lambda model, _: deploy(model, one, "int8", images),
            ("ONNX Runtime", "float32"): lambda _, path: onnx_runtime(path(), threads),
            ("ONNX Runtime", "int8"): lambda _, path: onnx_runtime(quantized_onnx(path(), images, folder), threads),
            ("OpenVINO", "float32"): lambda _, path: openvino(path(), None, threads),
            ("OpenVINO", "int8"): lambda _, path: openvino(path(), images, threads),
        }
        for (runtime, precision), make in made.items():
            yield runtime, f"{variant} {precision}", partial(make, model, exported)


def table(record: Mapping[str, Any]) -> str:
    """Milliseconds of every network in every runtime, and its accuracy where that was measured, as Markdown."""
    rows = {(row["network"], row["runtime"]): row for row in record["rows"]}
    networks = sorted({network for network, _ in rows}, key=lambda name: ("int8" in name, "het" in name, name))
    runtimes = [name for name in RUNTIMES if any(runtime == name for _, runtime in rows)]
    unit = "ms (accuracy, %)" if any("accuracy" in row for row in rows.values()) else "ms"
    cells = [(network, *(_cell(rows.get((network, runtime))) for runtime in runtimes)) for network in networks]
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in PACKAGES if name in record["versions"])
    threads = f"{record['threads']} thread{'s' if record['threads'] > 1 else ''}"
    isa = record.get("onednn_max_cpu_isa")
    limited = "" if isa is None else f"; OpenVINO limited to {isa}"
    where = f"{record['processor']}, {threads}, batch 1, {record['date']}; {versions}{limited}."
    return Table.of_rows((unit, *runtimes), cells, (where,)).markdown()


def committed() -> list[dict[str, Any]]:
    """The records, that of trained networks first."""
    records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("int8-networks-*.json"))]
    return sorted(records, key=lambda record: all("accuracy" not in row for row in record["rows"]))


def tables() -> str:
    titled = ((f"`{one['model']}`, images of {'×'.join(map(str, one['input']))}", table(one)) for one in committed())
    return "\n".join(f"{title}:\n\n{found}" for title, found in titled)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    accuracy = f" ({100 * row['accuracy']:.2f})" if "accuracy" in row else ""
    return f"{row['median_ms']:.2f}{accuracy}"


def accuracy_of(call: Call, data: Data) -> float:
    """On the test images, one after another: what was exported may take no more at once."""
    right = 0
    for images, labels in data.test_loader(500):
        answers = [int(torch.as_tensor(call(image.contiguous())).argmax()) for image in images.split(1)]
        right += int((torch.tensor(answers) == labels).sum())
    return right / data.test_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="vgg16_cifar")
    parser.add_argument("--input", default="3,32,32")
    parser.add_argument("--p", default="4,8")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=64, help="that ranges are taken from")
    parser.add_argument("--data", help="that the networks of --weights were trained on")
    parser.add_argument("--weights", nargs="+", help="variant=file for each network")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size = tuple(int(length) for length in given.input.split(","))
    images = torch.randn(given.images, *size, generator=torch.Generator().manual_seed(0))
    names = ["dense", *(f"het-p{p}" for p in given.p.split(","))]
    data = None if given.data is None else load_data(given.data)
    if data is None:
        variants = {variant: network(given.model, variant, images) for variant in names}
    else:
        images = data.first_images(given.images)
        variants = dict(trained(given.model, named, data) for named in given.weights)
    x = images[:1].contiguous()
    calls: dict[tuple[str, str], Call] = {}
    errors, accuracies, refused = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        for runtime, what, make in candidates(variants, images, given.threads, Path(scratch)):
            expected = variants[what.split()[0]](x)
            try:
                with torch.inference_mode(False), torch.no_grad():
                    call = make()
                error = float((torch.as_tensor(call(x)) - expected).norm() / expected.norm())
                if not error <= LARGEST_ERROR:
                    raise ValueError(f"outputs are off by {error:.2g}")
                if data is not None:
                    accuracies[runtime, what] = {"accuracy": accuracy_of(call, data)}
            except Exception as problem:  # whatever somebody else's flow does
                refused[f"{runtime} {what}"] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
                print(f"{runtime} {what}: {refused[f'{runtime} {what}']}")
                continue
            calls[runtime, what], errors[runtime, what] = call, error
            print(f"{runtime} {what}: ready, off by {error:.2g}", flush=True)
        times = times_in_turns({key: wall(call, x) for key, call in calls.items()}, given.rounds)
    rows = [
        {"runtime": runtime, "network": what, "median_ms": statistics.median(values), "least_ms": min(values),
         "error": errors[runtime, what], **accuracies.get((runtime, what), {})}
        for (runtime, what), values in times.items()
    ]  # fmt: skip
    where = circumstances(torch.device("cpu"), "float32 and int8", "channels_last", 1, given.threads)
    versions = dict(where.versions)
    for package in PACKAGES[1:]:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    record = {"model": given.model, "input": size, "processor": where.processor, "threads": given.threads,
              "date": where.date, "versions": versions, "rounds": given.rounds,
              "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
              "rows": rows, "refused": refused}  # fmt: skip
    given.out.write_text(json.dumps(record, indent=1))
    write_table(ROOT / "docs/speed.md", "8 bits", tables())
    write_table(ROOT / "README.md", "trained", table(committed()[0]))
    for row in sorted(rows, key=lambda row: row["median_ms"]):  # type: ignore[arg-type,return-value]
        name, off = f"{row['runtime']:16} {row['network']:16}", f"off by {row['error']:.1e}"
        print(f"{name} {row['median_ms']:8.3f} ms (least {row['least_ms']:.3f}), {off}")


if __name__ == "__main__":
    main()
