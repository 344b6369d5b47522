"""The layers whose weights least squares finds: HetConv layers, and the standard ones around them as P=1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hetconv.errors import UsageError
from hetconv.nn import HetConv2d
from hetconv.ops.arguments import Geometry, geometry
from hetconv.pattern import HetPattern


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A layer that is linear in its input: what it computes, and where its weights are.

    A linear layer is a 1×1 convolution of images of one pixel.
    """

    module: nn.Module
    pattern: HetPattern
    where: Geometry
    padding_mode: str

    @classmethod
    def of(cls, module: nn.Module) -> LinearLayer | str:
        """The layer of a module, or why least squares does not apply to it."""
        if isinstance(module, HetConv2d):
            where = geometry(module.stride, module.padding, module.dilation, module.kernel_size)
            return cls(module, module.pattern, where, module.padding_mode)
        if type(module) is nn.Linear:
            pattern = HetPattern(module.in_features, module.out_features, 1, 1)
            return cls(module, pattern, geometry(1, 0, 1, (1, 1)), "zeros")
        if type(module) is not nn.Conv2d:
            return f"{type(module).__name__} is neither a HetConv layer, nn.Conv2d nor nn.Linear"
        if module.groups != 1:
            return f"grouped (groups={module.groups})"
        height, width = module.kernel_size
        if height % 2 == 0 or width % 2 == 0:
            return f"kernel_size=({height}, {width}) is even"
        where = geometry(module.stride, module.padding, module.dilation, (height, width))  # type: ignore[arg-type]
        pattern = HetPattern(module.in_channels, module.out_channels, (height, width), 1)
        return cls(module, pattern, where, module.padding_mode)

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Views of the weights: (N, M/P, K, K) and (N, M − M/P)."""
        if isinstance(self.module, HetConv2d):
            spatial, pointwise = self.module.weights()
            return spatial.data, pointwise.data
        weight: Tensor = self.module.weight.data  # type: ignore[assignment]
        return weight.reshape(self.pattern.spatial_shape), weight.new_empty(self.pattern.pointwise_shape)

    @property
    def bias(self) -> Tensor | None:
        bias = self.module.bias
        return bias.data if isinstance(bias, Tensor) else None

    def set_weights(self, spatial: Tensor, pointwise: Tensor) -> None:
        """Replace the weights' values in place."""
        with torch.no_grad():
            if isinstance(self.module, HetConv2d):
                self.module.weight_spatial.copy_(spatial)
                self.module.weights()[1].copy_(pointwise)
            else:
                weight: Tensor = self.module.weight  # type: ignore[assignment]
                weight.copy_(spatial.reshape(weight.shape))

    def set_bias(self, bias: Tensor) -> None:
        with torch.no_grad():
            self.module.bias.copy_(bias)  # type: ignore[operator]

    def images(self, x: Tensor) -> Tensor:
        """An input or output of the layer as (B, C, H, W)."""
        if isinstance(self.module, nn.Linear):
            return x.reshape(-1, x.shape[-1], 1, 1)
        return x if x.dim() == 4 else x[None]

    def padded(self, x: Tensor) -> Tensor:
        height, width = self.where.padding
        if not height and not width:
            return x
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return functional.pad(x, (width, width, height, height), mode=mode)

    def why_not_alike(self, other: LinearLayer | str) -> str | None:
        """Why this layer cannot take the place of another one; None if it can."""
        if isinstance(other, str):
            return other
        mine, its = (
            (one.pattern.in_channels, one.pattern.out_channels, one.pattern.kernel_hw, one.where, one.padding_mode)
            for one in (self, other)
        )
        return None if mine == its else f"it computes {mine} and the original's {its}"


def linear_layer(name: str, module: nn.Module) -> LinearLayer:
    """Raises UsageError where least squares does not apply to the module."""
    found = LinearLayer.of(module)
    if isinstance(found, str):
        raise UsageError(f"{name}: {found}")
    return found
