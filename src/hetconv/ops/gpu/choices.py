"""Which configuration each call runs: what was tried for it, remembered in this process and on this machine's disk.

One small file for each choice lies with what Triton compiled (`TRITON_CACHE_DIR`), written whole or not at all. Its
name is a hash of all that the choice depends on: the call, the kind of GPU, Triton's and CUDA's versions, the text of
the kernels and of the candidates. One that cannot be read costs a line of warning, and the choice is timed anew.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import torch

FILE = "choice.json"
FOLDER = Path(__file__).parent
C = TypeVar("C")


@dataclass(frozen=True)
class Trial:
    """One configuration's time, or why it does not run on this device."""

    configuration: object
    median_ms: float | None
    refused: str | None = None


@dataclass
class Choices:
    """What was chosen, and the trials that led to it, by call."""

    chosen: dict[object, object] = field(default_factory=dict)
    trials: dict[object, tuple[Trial, ...]] = field(default_factory=dict)


@cache
def choices() -> Choices:
    """Those of this process."""
    return Choices()


def fastest(trials: Sequence[Trial]) -> object | None:
    """The configuration that took least time, the first of equals; None if none runs."""
    ran = [trial for trial in trials if trial.median_ms is not None]
    return min(ran, key=lambda trial: trial.median_ms or 0.0).configuration if ran else None


def read(call: str, device_name: str, candidates: Sequence[C]) -> tuple[Trial, ...] | None:
    """The trials of these candidates that an earlier process kept; None if there are none that can be read."""
    from triton.runtime.cache import get_cache_manager

    try:
        path = get_cache_manager(_name(call, device_name)).get_file(FILE)
    except OSError:  # there is no such folder, and none can be made
        return None
    if path is None:
        return None
    known = {str(one): one for one in candidates}
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["trials"]
        trials = tuple(Trial(known[row["configuration"]], row["median_ms"], row["refused"]) for row in rows)
        if not all(trial.median_ms is None or trial.median_ms > 0 for trial in trials) or fastest(trials) is None:
            raise ValueError("no time is in it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"{path} is damaged ({reason}); its configurations are timed anew", stacklevel=2)
        return None
    return trials


def keep(call: str, device_name: str, trials: Sequence[Trial]) -> None:
    """For every later process on this machine, until the kernels or the versions change.

    A disk that does not take it costs a line of warning.
    """
    from triton.runtime.cache import get_cache_manager

    rows = [vars(trial) | {"configuration": str(trial.configuration)} for trial in trials]
    text = json.dumps({"call": call, "device": device_name, "trials": rows}, indent=1)
    try:
        get_cache_manager(_name(call, device_name)).put(text, FILE, binary=False)
    except OSError as error:
        warnings.warn(f"which configuration is the fastest is not kept for later processes: {error}", stacklevel=2)


def _name(call: str, device_name: str) -> str:
    return sha256("\n".join([call, device_name, _made_of()]).encode()).hexdigest()


@cache
def _made_of() -> str:
    """Everything here that a time depends on: its texts and the compilers' versions."""
    import triton

    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".py", ".cu", ".cuh"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    return "\n".join([triton.__version__, str(torch.version.cuda), *texts])
