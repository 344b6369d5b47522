"""What the build has left here: native libraries, or why there are none."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
REASON = "native_not_built.txt"


def library(name: str, folder: Path = HERE) -> Path | str:
    """The path of a native library of this installation, or why it has none."""
    path, reason = folder / name, folder / REASON
    if path.is_file():
        return path
    why = reason.read_text(encoding="utf-8").strip() if reason.is_file() else f"this installation has no {name}"
    return f"the native kernels were not built: {why}"
