"""What the GPU kernels compute against float64: as much of `hetconv.ops.check` as its time allows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from gpu_plan import Plan

from hetconv.ops.check import CheckRow, check

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def values(todo: Plan) -> dict[str, object]:
    """Forward and every gradient, in three types: how many tensors were compared, and which are wrong."""
    failed, rows = [], 0
    for dtype in TYPES[: None if todo.compiled else 1]:
        for row in checked(dtype, todo.device, todo.seconds / 40):
            rows += 1
            if not row.passed:
                failed.append(f"{dtype} {row.case} {row.backend} {row.tensor}: {row.error:.3g} > {row.budget:.3g}")
    return {"compared": rows, "failed": failed[:20], "failures": len(failed)}


def checked(dtype: torch.dtype, device: torch.device, seconds: float) -> Iterator[CheckRow]:
    """Case by case, until the time is over; one configuration each, since all would take too long to compile."""
    end = time.perf_counter() + seconds
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    try:
        for row in check(dtype, device.type):
            if time.perf_counter() > end:
                break
            yield row
    finally:
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(False)
