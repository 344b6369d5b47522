"""What `hetconv bench` is asked for: which networks are timed, in which runtimes, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hetconv.errors import UsageError
from hetconv.lab.settings.comparison import Classes, NetworkName, TimedBatch, Width
from hetconv.lab.settings.setting import Setting, check

RUNNERS = (
    "deployed", "torch_eager", "torch_compiled", "onnx_runtime", "onnx_runtime_native", "open_vino", "ncnn_runtime",
)  # fmt: skip
"""Names of modules in `hetconv.lab.bench.runners`, in the order of the table."""
PRECISIONS = ("float32", "int8")


@dataclass(frozen=True)
class Bench:
    """What is measured and how.

    Args:
        network, variants, num_classes, width: as for `create_model`.
        input_size: (channels, height, width); None is the network's own.
        threads: of every runtime.
        rounds: timed turns; in each, every runtime runs every variant for about 30 ms.
        runtimes: names of `RUNNERS`.
        precisions: of `PRECISIONS`, each with every variant.

    Raises:
        UsageError: a number is out of its range, or a runtime is not known.
    """

    network: NetworkName
    variants: Annotated[
        tuple[str, ...], Setting("Kinds of layers to time beside dense, comma-separated.", option="--variant")
    ] = ("dense", "het-p4")
    input_size: tuple[int, int, int] | None = None
    num_classes: Classes = 10
    width: Width = 1.0
    batch_size: TimedBatch = 1
    threads: int = 1
    rounds: Annotated[int, Setting("Rounds of timing.", at_least=1)] = 20
    runtimes: Annotated[tuple[str, ...], Setting("Which runtimes, comma-separated.")] = RUNNERS
    precisions: Annotated[tuple[str, ...], Setting("float32, int8 or both: float32,int8.", option="--precision")] = (
        "float32",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.threads < 1:
            raise UsageError(f"threads={self.threads} must be at least 1")
        if not self.variants or len(set(self.variants)) < len(self.variants):
            raise UsageError(f"variants={','.join(self.variants)!r} must name at least one variant, and each once")
        if not self.runtimes or len(set(self.runtimes)) < len(self.runtimes):
            raise UsageError(f"runtimes={','.join(self.runtimes)!r} must name at least one runtime, and each once")
        for runtime in self.runtimes:
            if runtime not in RUNNERS:
                raise UsageError(f"runtime {runtime!r} is not known; there is {', '.join(RUNNERS)}")
        if not self.precisions or not set(self.precisions) <= set(PRECISIONS):
            raise UsageError(f"precision={','.join(self.precisions)!r} must be of {', '.join(PRECISIONS)}")
