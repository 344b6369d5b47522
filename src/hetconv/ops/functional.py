"""The public function, and the choice of the path that computes it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import conv2d
from torch.overrides import handle_torch_function, has_torch_function

from hetconv.errors import UsageError
from hetconv.ops import decomposed, dispatch, native, reference
from hetconv.ops.arguments import Padding, Size2, prepare
from hetconv.ops.gpu import support as gpu
from hetconv.ops.transforms import is_traced_for_onnx, knows_only_torch, untraced
from hetconv.ops.weights import to_dense_weight
from hetconv.pattern import Arrangement, HetPattern

PYTHON_BACKENDS = {"reference": reference.het_conv2d, "decomposed": decomposed.het_conv2d}


def het_conv2d(
    x: Tensor,
    weight_spatial: Tensor,
    weight_pointwise: Tensor | None,
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
        weight_pointwise: (N, M − M/P); filter n's 1×1 kernels, on the other channels in increasing order. None, as at
            P=1, where there are none.
        bias: (N) or None.
        stride, padding, dilation: as in `torch.nn.functional.conv2d`; the 1×1 kernels sit at the centre tap.
        arrangement: "shifted" (channel c is in part c mod P) or "blocked" (parts are contiguous).
        backend: None for the fastest that can run (`hetconv.explain` tells which), or one by name, which is then
            never replaced silently. Where only PyTorch's own operators are known (the transforms of `torch.func`,
            forward-mode gradients) None is the reference; the ONNX exporter that traces sees a dense convolution.

    Returns:
        (B, N, H', W') or (N, H', W'), channels-last if x is.

    Raises:
        UsageError: a shape, type, size or name does not fit; the message names it and the way out.
    """
    given = (x, weight_spatial, weight_pointwise, bias)
    if has_torch_function(given):  # proxies of torch.fx, and subclasses of tensors with a say of their own
        options: Any = {
            "stride": stride, "padding": padding, "dilation": dilation, "arrangement": arrangement, "backend": backend,
        }  # fmt: skip
        return handle_torch_function(het_conv2d, given, *given, **options)
    tensors, pattern, where = prepare(*given, stride, padding, dilation, arrangement)
    if backend is None and is_traced_for_onnx():
        output = conv2d(
            tensors[0],
            _constant_kernel(*tensors[1:3], pattern),
            tensors[3],
            where.stride,
            where.padding,
            where.dilation,
        )
        return output[0] if x.dim() == 3 else output
    if backend is None and knows_only_torch():
        backend = "reference"
    if backend == "native":
        reason = native.why_not(tensors[0])
        if reason is not None:
            raise UsageError(f"backend='native' cannot run: {reason}")
    if backend == "triton":
        reason = gpu.why_not_call(tensors[0], pattern, where)
        if reason is not None:
            raise UsageError(f"backend='triton' cannot run: {reason}")
    if backend in (None, "native", "triton"):
        output = dispatch.het_conv2d(*tensors, where, arrangement == "shifted")
    elif backend is not None and backend in PYTHON_BACKENDS:
        output = PYTHON_BACKENDS[backend](*tensors, pattern, where)
    else:
        names = ", ".join(("native", "triton", *PYTHON_BACKENDS))
        raise UsageError(f"backend={backend!r} must be one of {names}, or None for the fastest")
    return output[0] if x.dim() == 3 else output


@untraced
def _constant_kernel(weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern) -> Tensor:
    return to_dense_weight(weight_spatial.detach(), weight_pointwise.detach(), pattern)
