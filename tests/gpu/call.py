"""One call of the GPU kernels with its right results: small integers, whose sums are exact in any order."""

from dataclasses import dataclass, replace

import torch

from hetconv.ops import reference
from hetconv.ops.arguments import geometry
from hetconv.ops.gpu.configurations import Configuration, WeightGradConfiguration
from hetconv.ops.gpu.forward import forward
from hetconv.ops.gpu.input_grad import input_grad
from hetconv.ops.gpu.product import Epilogue
from hetconv.ops.gpu.weight_grad import weight_grad
from hetconv.pattern import HetPattern

CONFIGURATIONS = {
    "pixels as rows": Configuration(16, 32, 16),
    "filters as rows": Configuration(16, 64, 32, filter_rows=True),
    "square tiles through L1": Configuration(16, 32, 32, tile_width=8, halved=True),
    "two parts": Configuration(16, 64, 16, parts=2),
    "two parts, square, filters as rows": Configuration(32, 32, 32, parts=2, tile_width=4, filter_rows=True),
}


@dataclass(frozen=True)
class Call:
    """Sizes of a call; `padding`, `stride`, `dilation` as for convolutions."""

    pattern: HetPattern
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 1
    dilation: int | tuple[int, int] = 1
    batch: int = 1
    height: int = 5
    width: int = 7
    memory_format: torch.memory_format = torch.channels_last

    @property
    def where(self):
        return geometry(self.stride, self.padding, self.dilation, self.pattern.kernel_hw)

    @property
    def output_size(self):
        return (
            self.batch,
            self.pattern.out_channels,
            *self.where.output_hw((self.height, self.width), self.pattern.kernel_hw),
        )

    def tensors(self, draw):
        """x, weight_spatial, weight_pointwise, bias, grad_output of what `draw` makes of a size."""
        pattern = self.pattern
        sizes = (self.batch, pattern.in_channels, self.height, self.width), pattern.spatial_shape
        return [draw(size) for size in (*sizes, pattern.pointwise_shape, (pattern.out_channels,), self.output_size)]


def integers(size):
    return torch.randint(-3, 4, size).double()


def truth(call, tensors):
    """Output and gradients by name, in the type of the tensors."""
    *leaves, grad_output = [tensor.detach().requires_grad_() for tensor in tensors]
    output = reference.het_conv2d(*leaves, call.pattern, call.where)
    gradients = torch.autograd.grad(output, leaves[:3], grad_output, allow_unused=True)
    gradients = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=False)]
    return dict(zip(("output", "x", "weight_spatial", "weight_pointwise"), (output.detach(), *gradients), strict=True))


def computed(call, tensors, device, dtype, configuration=None, merge=1):
    """The same from the GPU kernels, on the CPU again."""
    x, spatial, pointwise, bias, grad_output = (tensor.to(device, dtype) for tensor in tensors)
    x, grad_output = (t.contiguous(memory_format=call.memory_format) for t in (x, grad_output))
    for_weights = None
    if configuration is not None:
        configuration = replace(configuration, merge=merge)
        for_weights = WeightGradConfiguration(16, 16, 32, 32, merge)
    layer = (call.pattern, call.where)
    y = forward(x, spatial, pointwise, Epilogue(bias), *layer, configuration)
    grad = input_grad(grad_output, spatial, pointwise, (call.height, call.width), *layer, configuration)
    gradients = weight_grad(grad_output, x, *layer, for_weights)
    found = (y, grad, *gradients)
    return dict(zip(("output", "x", "weight_spatial", "weight_pointwise"), (t.cpu() for t in found), strict=True))


def stored(tensor, dtype, device):
    """What a kernel stores of a float32 sum: rounded to nearest, in Triton's interpreter (bfloat16) towards zero."""
    if dtype == torch.bfloat16 and device == "cpu":
        return (tensor.float().view(torch.int32) & -(1 << 16)).view(torch.float32).to(dtype)
    return tensor.to(dtype)
