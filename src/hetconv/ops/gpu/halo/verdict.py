"""Whether the halo kernel was seen to compute right on a machine's GPU, kept on disk with what was compiled for it."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

from hetconv.ops.gpu.halo.device import why_not_device
from hetconv.ops.gpu.halo.source import FOLDER

FILE = "halo.json"


@cache
def why_not_admitted(device: torch.device) -> str | None:
    """Why the halo kernel is not tried on this device; None if it is.

    It was written without a GPU at hand, and what is wrong in it could end a process, so that it is checked in one of
    its own, on request.
    """
    reason = why_not_device(device)
    if reason is not None:
        return reason
    found = verdict(torch.cuda.get_device_name(device))
    if found is None:
        return "it was not checked on this machine; python -m hetconv.ops.gpu.halo.admit checks it, in a minute"
    return None if found["passed"] else f"it failed its check on this machine: {found['reason']}"


def verdict(device_name: str) -> dict[str, object] | None:
    """What the check of this very kernel said on a GPU of this name; None if there was none."""
    from triton.runtime.cache import get_cache_manager

    path = get_cache_manager(_key(device_name)).get_file(FILE)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def keep_verdict(device_name: str, passed: bool, reason: str) -> None:
    """For every later process on this machine, until the kernel or CUDA's version changes."""
    from triton.runtime.cache import get_cache_manager

    text = json.dumps({"passed": passed, "reason": reason, "device": device_name})
    get_cache_manager(_key(device_name)).put(text, FILE, binary=False)


def _key(device_name: str) -> str:
    texts = [
        path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir()) if path.suffix in (".cu", ".cuh", ".py")
    ]
    return sha256("\n".join([*texts, str(torch.version.cuda), device_name]).encode()).hexdigest()
