"""Packed weights that are kept from one inference call to the next, and packed anew once the weights change."""

from __future__ import annotations

import torch
from torch import Tensor

from hetconv.ops import native
from hetconv.pattern import HetPattern


class KeptWeights:
    """The packed form of one layer's weights, made when it is first asked for. Copies of it start empty.

    At each call the weights' hash is compared with that of the weights that were packed, and these are packed anew when
    it is another one. PyTorch's own version counters would be cheaper to ask, but miss what is written through
    `tensor.data`, NumPy or shared memory, as averaging of weights does. A hash costs reading the weights once more.

    What is packed is a copy of the weights, and its hash is the copy's: what another thread writes meanwhile may be in
    one call's result, as in any layer, but is not kept for weights that have other values.
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
        known, packed = self._packed.get(algorithm, ((), torch.empty(0)))
        if known != _key(weights, pattern):
            with torch.inference_mode(False), torch.no_grad():
                copies = (weight_spatial.detach().clone(), weight_pointwise.detach().clone())
                key, packed = _key(copies, pattern), native.pack_weights(*copies, pattern, algorithm)
            self._packed[algorithm] = key, packed
        return packed

    def __reduce__(self) -> tuple[type[KeptWeights], tuple[()]]:
        return KeptWeights, ()


def _key(weights: tuple[Tensor, Tensor], pattern: HetPattern) -> tuple[object, ...]:
    """What a packed form is of."""
    strides = (weight.stride() for weight in weights)
    return (pattern, native.instruction_set(), *strides, *(native.hash_of(weight) for weight in weights))


def _is_dense(tensor: Tensor) -> bool:
    """Whether the tensor fills its memory without gaps, in whichever order."""
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
