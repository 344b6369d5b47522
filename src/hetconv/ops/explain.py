"""Which path a call of `het_conv2d` takes, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hetconv.ops import decomposed, native, reference
from hetconv.ops.arguments import Padding, Size2, prepare
from hetconv.ops.gpu import support as gpu
from hetconv.ops.gpu.configurations import rows_for
from hetconv.pattern import Arrangement


@dataclass(frozen=True)
class Explanation:
    """What `hetconv.explain` found.

    `macs` is the layer's own count for the whole batch; `executed_macs` is what each path that could run executes;
    `refused` gives, path by path, the reason why it is not taken.
    """

    backend: str
    macs: int
    executed_macs: dict[str, int]
    refused: dict[str, str]

    def __str__(self) -> str:
        lines = [f"takes: {self.backend}", f"MACs of the layer: {self.macs:,}"]
        for name, executed in self.executed_macs.items():
            lines.append(f"MACs executed by {name}: {executed:,} ({(executed - self.macs) / max(self.macs, 1):+.1%})")
        lines.extend(f"not {name}: {reason}" for name, reason in self.refused.items())
        return "\n".join(lines)


def explain(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor | None,
    bias: Tensor | None = None,
    *,
    stride: Size2 = 1,
    padding: Padding = 0,
    dilation: Size2 = 1,
    arrangement: Arrangement = "shifted",
) -> Explanation:
    """Say which path the same call of `het_conv2d` takes, what it executes, and why the others are refused.

    Raises:
        UsageError: as `het_conv2d` does.
    """
    (batch, *_), pattern, where = prepare(
        x, weight_spatial, weight_pointwise, bias, stride, padding, dilation, arrangement
    )
    height, width = where.output_hw((batch.shape[2], batch.shape[3]), pattern.kernel_hw)
    positions = batch.shape[0] * height * width
    macs = positions * pattern.macs_per_position
    refused = {"reference": "it executes a whole dense convolution; it is there to check the others"}
    executed = {
        "decomposed": positions * decomposed.executed_macs_per_position(pattern),
        "reference": positions * reference.executed_macs_per_position(pattern),
    }
    per_position = {"native": pattern.macs_per_position, "triton": rows_for(pattern, batch.dtype).macs_per_position}
    reasons = {"native": native.why_not(batch), "triton": gpu.why_not_call(batch, pattern, where)}
    taken = next((name for name, reason in reasons.items() if reason is None), None)
    not_taken = {name: reason for name, reason in reasons.items() if reason is not None}
    if taken is None:
        return Explanation("decomposed", macs, executed, not_taken | refused)
    refused["decomposed"] = f"{taken} is faster"
    name, count = taken, positions * per_position[taken]
    size = batch.shape[0], batch.shape[2], batch.shape[3]
    if taken == "native" and positions and native.choose_algorithm(pattern, where, size) == "winograd":
        name, count = "native (Winograd)", native.winograd_macs(pattern, batch.shape[0], height, width)
    return Explanation(taken, macs, {name: count, **executed}, not_taken | refused)
