"""The public function, and the choice of the path that computes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.ops import decomposed, dispatch, reference
from hetconv.ops.arguments import Padding, Size2, check_tensors, geometry, pattern_of
from hetconv.pattern import Arrangement

PYTHON_BACKENDS = {"reference": reference.het_conv2d, "decomposed": decomposed.het_conv2d}


def het_conv2d(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Size2 = 1,
    padding: Padding = 0,
    dilation: Size2 = 1,
    arrangement: Arrangement = "shifted",
    backend: str | None = None,
) -> Tensor:
    """Heterogeneous convolution (Singh et al., CVPR 2019, section 3): the dense convolution with a zero-masked kernel.

    Args:
        x: (B, M, H, W) or (M, H, W).
        weight_spatial: (N, M/P, K, K), odd K; filter n's K×K kernels, on the channels of its part in increasing order.
        weight_pointwise: (N, M − M/P); filter n's 1×1 kernels, on the other channels in increasing order.
        bias: (N) or None.
        stride, padding, dilation: as in `torch.nn.functional.conv2d`; the 1×1 kernels sit at the centre tap.
        arrangement: "shifted" (channel c is in part c mod P) or "blocked" (parts are contiguous).
        backend: None for the fastest that can run (`hetconv.explain` tells which), or one by name, which is then
            never replaced silently.

    Returns:
        (B, N, H', W') or (N, H', W'), channels-last if x is.

    Raises:
        UsageError: a shape, type, size or name does not fit; the message names it and the way out.
    """
    if x.dim() == 3:
        weights = (weight_spatial, weight_pointwise, bias)
        options: Any = {"stride": stride, "padding": padding, "dilation": dilation, "arrangement": arrangement}
        return het_conv2d(x[None], *weights, backend=backend, **options)[0]
    x, weight_spatial, weight_pointwise, bias = _autocast(x, weight_spatial, weight_pointwise, bias)
    pattern = pattern_of(weight_spatial, weight_pointwise, arrangement)
    where = geometry(stride, padding, dilation, pattern.kernel_hw)
    check_tensors(x, weight_spatial, weight_pointwise, bias, pattern, where)
    if backend is None:
        return dispatch.ops.het_conv2d(  # type: ignore[no-any-return]
            x,
            weight_spatial,
            weight_pointwise,
            bias,
            where.stride,
            where.padding,
            where.dilation,
            arrangement == "shifted",
        )
    if backend not in PYTHON_BACKENDS:
        raise UsageError(f"backend={backend!r} must be one of {', '.join(PYTHON_BACKENDS)}, or None for the fastest")
    return PYTHON_BACKENDS[backend](x, weight_spatial, weight_pointwise, bias, pattern, where)


def _autocast(x: Tensor, *others: Any) -> tuple[Any, ...]:
    """Inside `torch.autocast`, floating-point inputs in its dtype, as for PyTorch's own convolutions."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return (x, *others)
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in (x, *others))
