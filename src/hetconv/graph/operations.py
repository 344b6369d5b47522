"""The one table of operations: what each does to its values, its arguments, where it is allowed, and its module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from hetconv.nn import HetConv2d


@dataclass(frozen=True)
class Facts:
    """What is known of an operation wherever it is met: in plain calls, in modules, in ONNX under its name there.

    Attributes:
        does: elementwise, a function of each number of its first argument alone; arithmetic, of two numbers, at the
            same place of two tensors or after one is spread over the other; dropout; copy and conversion, the same
            numbers again, of another type or elsewhere; maps, which works on each channel's H×W map alone; reduction;
            size, which reads no numbers but sizes or types; other.
        shares: whether the result may be the memory of an argument.
        called_as: what a deployed graph, and so a file, may call by this name: F a function of torch.nn.functional,
            T of torch, O an operator, M a tensor's method; nothing for what is only met before a network is deployed.
    """

    does: str
    shares: bool
    called_as: str


_TABLE = """
elementwise own    F    elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 silu
elementwise own    F    softplus softshrink softsign tanhshrink threshold
elementwise own    FT   celu selu
elementwise own    FTM  relu sigmoid tanh
elementwise own    T    expm1 log1p log2
elementwise own    TM   ceil clamp clamp_max clamp_min clip cos erf exp floor log reciprocal round rsqrt sign sin sqrt
elementwise own    TM   square
elementwise own    TOM  abs neg
elementwise own    -    rrelu
arithmetic  own    T    floor_divide remainder
arithmetic  own    TM   div maximum minimum true_divide
arithmetic  own    TOM  add mul pow sub
arithmetic  own    O    floordiv mod truediv
dropout     shared -    alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout
copy        own    M    clone
copy        shared M    contiguous detach
conversion  shared M    cpu float to type_as
conversion  shared -    bfloat16 cuda double half identity type
maps        own    F    adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d interpolate lp_pool2d max_pool2d
reduction   own    TM   amax amin mean sum
size        own    M    dim numel size
size        own    -    element_size is_floating_point ndimension nelement stride
other       own    F    adaptive_avg_pool1d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool3d avg_pool1d
other       own    F    avg_pool3d batch_norm bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d
other       own    F    conv_transpose3d cosine_similarity embedding fold glu grid_sample group_norm instance_norm
other       own    F    layer_norm linear local_response_norm lp_pool1d max_pool1d max_pool3d normalize pad prelu
other       own    F    rms_norm scaled_dot_product_attention softmin upsample
other       own    FTM  log_softmax softmax
other       own    T    _assert addmm arange baddbmm bitwise_not cat concat full full_like isfinite linspace logsumexp
other       own    T    ones ones_like outer stack var_mean zeros zeros_like
other       own    TM   addcmul argmax argmin bmm cumsum flip gather index_select logical_and logical_not logical_or
other       own    TM   max min mm norm prod repeat_interleave roll sort std take_along_dim tile topk var where
other       own    TOM  eq ge gt le lt matmul ne
other       own    O    and_ invert not_ or_ xor
other       own    M    add_ masked_fill new_full new_ones new_zeros repeat
other       shared F    pixel_shuffle pixel_unshuffle
other       shared FM   unfold
other       shared FT   channel_shuffle
other       shared T    broadcast_to einsum meshgrid
other       shared TM   chunk flatten movedim narrow permute reshape split squeeze swapaxes swapdims transpose unbind
other       shared TM   unsqueeze
other       shared O    getitem pos
other       shared M    bool expand expand_as int long reshape_as split_with_sizes t unflatten
other       shared -    getattr stochastic_depth view view_as
"""
OPERATIONS: dict[str, Facts] = {
    name: Facts(does, memory == "shared", called_as)
    for does, memory, called_as, *names in map(str.split, _TABLE.strip().splitlines())
    for name in names
}


def _that(do: str) -> frozenset[str]:
    return frozenset(name for name, facts in OPERATIONS.items() if facts.does == do)


ELEMENTWISE, ARITHMETIC, DROPOUTS, COPIES = _that("elementwise"), _that("arithmetic"), _that("dropout"), _that("copy")
CONVERSIONS, PER_MAP, REDUCTIONS, SIZES = _that("conversion"), _that("maps"), _that("reduction"), _that("size")
MAY_SHARE = frozenset(name for name, facts in OPERATIONS.items() if facts.shares)
"""Their result may be the memory of an argument: of the first, but for those of several tensors."""
OF_SEVERAL = frozenset(("meshgrid", "einsum"))
SIZE_ATTRIBUTES = frozenset(["device", "dtype", "is_cuda", "itemsize", "nbytes", "ndim", "requires_grad", "shape"])

_OWN_NAMES_OF_ONNX = {"cast": "to", "max": "maximum", "min": "minimum"}


def is_elementwise_in_onnx(operator: str) -> bool:
    """Whether a standard operator of ONNX works on each number alone: its name is that of an operation here."""
    name = _OWN_NAMES_OF_ONNX.get(operator.lower(), operator.lower())
    return any(name == known.replace("_", "") for known in ELEMENTWISE | ARITHMETIC | CONVERSIONS)


WEIGHTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear"), ("weight",)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("weight",)),
    "het_conv2d": ("weight_spatial", "weight_pointwise"),
}
"""The arguments with the weights of convolutions and linear layers."""

_CONVOLUTION = "weight bias stride padding dilation groups"
_TRANSPOSED = "weight bias stride padding output_padding groups dilation"
_MAX_POOL = "kernel_size stride padding dilation ceil_mode return_indices"
_AVERAGE_POOL = "kernel_size stride padding ceil_mode count_include_pad divisor_override"
ARGUMENTS: dict[str, tuple[str, ...]] = {
    name: ("input", *arguments.split())
    for names, arguments in (
        ("conv1d conv2d conv3d", _CONVOLUTION),
        ("conv_transpose1d conv_transpose2d conv_transpose3d", _TRANSPOSED),
        ("linear", "weight bias"),
        ("prelu", "weight"),
        ("max_pool1d max_pool2d max_pool3d", _MAX_POOL),
        ("avg_pool1d avg_pool2d avg_pool3d", _AVERAGE_POOL),
        ("adaptive_avg_pool2d adaptive_max_pool2d", "output_size return_indices"),
        ("mean sum amax amin", "dim keepdim"),
        ("flatten", "start_dim end_dim"),
        ("squeeze unsqueeze", "dim"),
        ("transpose swapaxes swapdims", "dim0 dim1"),
        ("chunk", "chunks dim"),
        ("split split_with_sizes", "split_size_or_sections dim"),
        ("clamp clip", "min max"),
        ("gelu", ""),
    )
    for name in names.split()
} | {"cat": ("tensors", "dim"), "concat": ("tensors", "dim")}  # fmt: skip
"""The names of arguments, in order, of operations whose own signature Python cannot be asked for."""
ALIASES = {"axis": "dim", "keepdims": "keepdim"}
"""NumPy's names of arguments, which PyTorch takes too."""
_CONVOLUTION_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
DEFAULTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _CONVOLUTION_DEFAULTS),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _CONVOLUTION_DEFAULTS | {"output_padding": 0}
    ),
    "linear": {"bias": None},
}

_NORM = "running_mean running_var weight bias eps"
_MODULES: dict[type[nn.Module], str] = {
    nn.Conv1d: f"conv1d {_CONVOLUTION}", nn.Conv2d: f"conv2d {_CONVOLUTION}", nn.Conv3d: f"conv3d {_CONVOLUTION}",
    nn.ConvTranspose1d: f"conv_transpose1d {_TRANSPOSED}", nn.ConvTranspose2d: f"conv_transpose2d {_TRANSPOSED}",
    nn.ConvTranspose3d: f"conv_transpose3d {_TRANSPOSED}", nn.Linear: "linear weight bias",
    HetConv2d: "het_conv2d weight_spatial weight_pointwise bias stride padding dilation",
    nn.BatchNorm1d: f"batch_norm {_NORM}", nn.BatchNorm2d: f"batch_norm {_NORM}", nn.BatchNorm3d: f"batch_norm {_NORM}",
    nn.SyncBatchNorm: f"batch_norm {_NORM}", nn.InstanceNorm2d: f"instance_norm {_NORM}",
    nn.GroupNorm: "group_norm num_groups weight bias", nn.LayerNorm: "layer_norm normalized_shape weight bias",
    nn.PReLU: "prelu weight", nn.Identity: "identity", nn.ReLU: "relu", nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu", nn.ELU: "elu", nn.CELU: "celu", nn.SELU: "selu", nn.GELU: "gelu", nn.SiLU: "silu",
    nn.Mish: "mish", nn.Sigmoid: "sigmoid", nn.LogSigmoid: "logsigmoid", nn.Tanh: "tanh", nn.Hardtanh: "hardtanh",
    nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid", nn.Hardshrink: "hardshrink", nn.Softplus: "softplus",
    nn.Softshrink: "softshrink", nn.Softsign: "softsign", nn.Tanhshrink: "tanhshrink", nn.Threshold: "threshold",
    nn.RReLU: "rrelu", nn.Dropout: "dropout", nn.Dropout1d: "dropout1d", nn.Dropout2d: "dropout2d",
    nn.Dropout3d: "dropout3d", nn.AlphaDropout: "alpha_dropout", nn.FeatureAlphaDropout: "feature_alpha_dropout",
    nn.MaxPool1d: f"max_pool1d {_MAX_POOL}", nn.MaxPool3d: f"max_pool3d {_MAX_POOL}",
    nn.MaxPool2d: f"max_pool2d {_MAX_POOL}", nn.AvgPool2d: f"avg_pool2d {_AVERAGE_POOL}", nn.LPPool2d: "lp_pool2d",
    nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d output_size",
    nn.AdaptiveMaxPool2d: "adaptive_max_pool2d output_size return_indices",
    nn.Upsample: "interpolate", nn.UpsamplingNearest2d: "interpolate", nn.UpsamplingBilinear2d: "interpolate",
    nn.ZeroPad2d: "pad pad=padding", nn.ConstantPad2d: "pad pad=padding", nn.ReflectionPad2d: "pad pad=padding",
    nn.ReplicationPad2d: "pad pad=padding", nn.CircularPad2d: "pad pad=padding",
    nn.Flatten: "flatten start_dim end_dim", nn.Unflatten: "unflatten",
    nn.ChannelShuffle: "channel_shuffle", nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
}  # fmt: skip
MODULES = {kind: (text.split()[0], tuple(text.split()[1:])) for kind, text in _MODULES.items()}
"""The operation of a module, and the arguments that are its attributes; `pad=padding` where these have another name."""
