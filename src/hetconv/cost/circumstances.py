"""Where something was measured: processor, threads, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from hetconv.records import Circumstances

VERSIONS_OF = ("hetconv", "torch", "torchvision", "triton")


def circumstances(device: torch.device, dtype: str, memory_format: str, batch_size: int, threads: int) -> Circumstances:
    """Describe this machine and moment."""
    return Circumstances(
        date=datetime.date.today().isoformat(),
        processor=torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        cores=available_cores(),
        threads=threads,
        device=device.type,
        dtype=dtype,
        memory_format=memory_format,
        batch_size=batch_size,
        versions={"python": platform.python_version(), **_versions()},
    )


def processor_name() -> str:
    """The processor's model name, with its vector instructions where the system tells them."""
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return f"{name}{family}, {torch.backends.cpu.get_cpu_capability()}"


def available_cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in VERSIONS_OF:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
