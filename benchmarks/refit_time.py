"""How long least squares takes: `refit_` of ResNet-18 with photographs of 224×224.

python benchmarks/refit_time.py --photographs folder

Weights are as they are made, with batch norm statistics of photographs. Seconds of the clock are true where nothing
else runs on the machine; the processor's own seconds of the process stand beside them.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from pages import RESULTS
from text_photographs import normalized, photographs, without_text
from torch import Tensor, nn

from hetconv import convert_, refit_
from hetconv.cost.circumstances import circumstances
from hetconv.files import write_atomically
from hetconv.lab.models import create_model
from hetconv.records import adapter

RECORD = RESULTS / "refit-time.json"
NETWORK, P, IMAGES, SIZE = "resnet18", 4, 500, (224, 224)


def network(images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(NETWORK).train()
    with torch.no_grad():
        model(images[:16])  # batch norm statistics
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photographs", type=Path, required=True, help="a folder with .jpg files, in folders of it too"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = normalized(without_text(photographs(args.photographs)[:IMAGES], SIZE))
    original = network(images)
    converted = copy.deepcopy(original)
    convert_(converted, P)
    start, cpu = time.perf_counter(), time.process_time()
    report = refit_(converted, original, images, told=lambda layer: print(layer.name, flush=True))
    at = circumstances(torch.device("cpu"), "float32", "channels_first", 1, args.threads)
    record = {
        "network": NETWORK, "p": P, "images": len(images), "size": SIZE,
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
        "error_before": report.error_before, "error_after": report.error_after,
        "circumstances": adapter(type(at)).dump_python(at, mode="json"),
    }  # fmt: skip
    write_atomically(RECORD, json.dumps(record, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
