"""What the operations of a graph do to their values, by name; and the operation of each of PyTorch's modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from hetconv.nn import HetConv2d


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _names("""
abs celu clamp clamp_max clamp_min clip elu erf exp expm1 gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log
log1p log2 logsigmoid mish neg reciprocal relu relu6 rrelu rsqrt selu sigmoid silu softplus softshrink softsign sqrt
square tanh tanhshrink threshold
""")
"""Functions of each number of their first argument alone."""
ARITHMETIC = _names("add sub mul div truediv maximum minimum")
"""Functions of two numbers, at the same place of two tensors or after one is spread over the other."""
DROPOUTS = _names("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout")
COPIES = _names("clone contiguous detach")
CONVERSIONS = _names("bfloat16 cpu cuda double float half identity to type type_as")
"""The same numbers, of another type or elsewhere."""
PER_MAP = _names("""
adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d interpolate lp_pool2d max_pool2d
""")
"""They work on each channel's H×W map alone."""
REDUCTIONS = _names("amax amin mean sum")
MAY_SHARE = _names("""
T bool broadcast_to channel_shuffle chunk einsum expand expand_as flatten getattr getitem int long mT meshgrid movedim
narrow permute pixel_shuffle pixel_unshuffle pos reshape reshape_as split split_with_sizes squeeze stochastic_depth
swapaxes swapdims t transpose unbind unflatten unfold unsqueeze view view_as
""") | DROPOUTS | CONVERSIONS | {"contiguous", "detach"}  # fmt: skip
"""Their result may be the memory of an argument: of the first, but for those of several tensors."""
OF_SEVERAL = _names("meshgrid einsum")
SIZES = _names("dim element_size is_floating_point ndimension nelement numel size stride")
"""Methods that read no numbers of a tensor, but its sizes or type."""
SIZE_ATTRIBUTES = _names("device dtype is_cuda itemsize nbytes ndim requires_grad shape")

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
