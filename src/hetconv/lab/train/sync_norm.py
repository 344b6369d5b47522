"""Batch norm over the batches of all processes, so that many devices train as one with the same global batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class SyncBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics are those of all processes' images; PyTorch's own runs on GPUs only.

    Input and output (B, C, H, W), every process with a B of its own. Gradients pass through the statistics too.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        wide: Tensor = input.to(
            torch.promote_types(input.dtype, torch.float32)
        )  # sums of bfloat16 would lose small parts
        own = wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), wide.new_full((1,), input.numel() / input.shape[1])
        summed: Tensor = _Summed.apply(torch.cat(own))
        total, squares, count = summed.split((input.shape[1], input.shape[1], 1))
        mean = total / count
        variance = squares / count - mean.square()
        self._follow(mean.detach(), (variance * count / (count - 1)).detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale + self.bias if self.affine else -mean * scale
        normalized: Tensor = (wide * scale[:, None, None] + shift[:, None, None]).to(input.dtype)
        return normalized

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as batch norm does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synchronized(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with its batch norms over all processes; weights and statistics are the same tensors."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(model, name, _converted(child))
        else:
            synchronized(child, device)
    return model


def _converted(norm: nn.BatchNorm2d) -> SyncBatchNorm:
    made = SyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )  # its own tensors give way to the norm's
    state: dict[str, Any] = {**dict(norm.named_parameters()), **dict(norm.named_buffers())}
    for name, tensor in state.items():
        setattr(made, name, tensor)
    return made.train(norm.training)
