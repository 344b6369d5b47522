"""Packed weights that are kept from one inference call to the next, and packed anew once the weights change."""

from __future__ import annotations

import torch
from torch import Tensor

from hetconv.ops import native
from hetconv.pattern import HetPattern


class KeptWeights:
    """The packed form of one layer's weights, made when it is first asked for. Copies of it start empty.

    It is made anew when a fingerprint of all values says that they are no longer the same. PyTorch's own version
    counters would be cheaper to ask, but miss what is written through `tensor.data`. Reading the weights once more
    costs a tenth of packing them.
    """

    def __init__(self) -> None:
        self._packed: dict[native.Algorithm, tuple[tuple[object, ...], Tensor]] = {}

    def get(
        self, weight_spatial: Tensor, weight_pointwise: Tensor, pattern: HetPattern, algorithm: native.Algorithm
    ) -> Tensor | None:
        """What `het_conv2d_packed` takes; None for weights with gaps in their memory."""
        weights = (weight_spatial, weight_pointwise)
        if not all(_is_dense(weight) for weight in weights):
            return None
        strides = (weight.stride() for weight in weights)
        key = (pattern, native.instruction_set(), *strides, *(native.fingerprint(weight) for weight in weights))
        known, packed = self._packed.get(algorithm, ((), torch.empty(0)))
        if known != key:
            with torch.inference_mode(False), torch.no_grad():
                packed = native.pack_weights(*weights, pattern, algorithm)
            self._packed[algorithm] = key, packed
        return packed

    def __reduce__(self) -> tuple[type[KeptWeights], tuple[()]]:
        return KeptWeights, ()


def _is_dense(tensor: Tensor) -> bool:
    """Whether the tensor fills its memory without gaps, in whichever order."""
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
