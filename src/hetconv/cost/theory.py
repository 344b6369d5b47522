"""How many times fewer multiply-adds each kind of layer needs than the standard convolution it replaces."""

from __future__ import annotations

from hetconv.errors import UsageError


def speedup_theory(
    layer: str,
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int | tuple[int, int] = 3,
    p: int | None = None,
    groups: int | None = None,
) -> float:
    """1/R: the speed-up over the standard convolution that a layer replaces, if time went as multiply-adds do.

    R is the ratio of their multiply-adds (paper, section 3.1).

    Args:
        layer: "dense"; "het" with p; "gwc-pwc" (a K×K convolution M → M in groups, then 1×1 M → N) with groups;
            "dwc-pwc" (the same with groups=M).

    Raises:
        UsageError: the layer is unknown, or its p or groups is missing or does not divide.
    """
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": min(height, width)}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name}={size} must be a positive integer")
    taps = height * width
    if layer == "dense":
        return 1.0
    if layer == "het":
        _check_divides("p", p, in_channels)
        _check_divides("p", p, out_channels, "out_channels")
        return 1 / (1 / p + (1 - 1 / p) / taps)  # type: ignore[operator]
    if layer == "dwc-pwc":
        groups = in_channels
    elif layer != "gwc-pwc":
        raise UsageError(f"layer={layer!r} must be dense, het, gwc-pwc or dwc-pwc")
    _check_divides("groups", groups, in_channels)
    return 1 / (in_channels / (out_channels * groups) + 1 / taps)  # type: ignore[operator]


def _check_divides(name: str, value: int | None, channels: int, of: str = "in_channels") -> None:
    if value is None:
        raise UsageError(f"this layer needs {name}")
    if value < 1 or channels % value:
        raise UsageError(f"{of}={channels} must be divisible by {name}={value}")
