"""Packed weights that are kept from one inference call to the next, and packed anew once the weights change."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hetconv.ops import native
from hetconv.pattern import HetPattern

SAMPLES = 256


class KeptWeights:
    """The packed form of one layer's weights, made when it is first asked for.

    It is made anew when the tensors are others, when PyTorch's version counters say that they were written to, and
    when one of 256 values sampled from each has changed, since writing through `tensor.data` bypasses the counters.
    Packing costs about as much as a batch of one on a 7×7 map; checking costs microseconds. Copies start empty.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._packed = torch.empty(0)
        self._live: tuple[NDArray[Any], ...] = ()

    def get(self, weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern) -> Tensor | None:
        """What `het_conv2d_packed` takes; None if the tensors are of a kind whose changes cannot be seen."""
        weights = (weight_spatial, weight_pointwise)
        if any(weight.is_inference() or not _is_dense(weight) for weight in weights):
            return None
        identity = (*(weight.data_ptr() for weight in weights), *(weight._version for weight in weights))
        if self._key != (*identity, native.instruction_set(), *(live.tobytes() for live in self._live)):
            with torch.inference_mode(False), torch.no_grad():
                self._packed = native.pack_weights(*weights, pattern)
                self._live = tuple(_samples(weight) for weight in weights)
            self._key = (*identity, native.instruction_set(), *(live.tobytes() for live in self._live))
        return self._packed

    def __reduce__(self) -> tuple[type[KeptWeights], tuple[()]]:
        return KeptWeights, ()


def _is_dense(tensor: Tensor) -> bool:
    """Whether the tensor fills its memory without gaps, in whichever order."""
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _samples(tensor: Tensor) -> NDArray[Any]:
    """Evenly spaced values of a dense tensor: a view, which shows what is written to it later."""
    count = min(SAMPLES, tensor.numel())
    step = max(1, tensor.numel() // max(1, count))
    return tensor.detach().as_strided((count,), (step,)).numpy()
