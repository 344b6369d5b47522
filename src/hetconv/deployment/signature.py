"""How a module is called: which tensors, with how many dimensions and channels, and which plain values beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hetconv.errors import UsageError
from hetconv.graph.structure import take_out
from hetconv.graph.tracing import CaptureError


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's type and dimensions; `channels` where it is a batch of images that always has this many."""

    dtype: str
    dims: int
    channels: int | None

    @classmethod
    def of(cls, tensor: Tensor) -> TensorSpec:
        channels = int(tensor.shape[1]) if tensor.dim() == 4 else None
        return cls(_name(tensor.dtype), tensor.dim(), channels)

    def takes(self, tensor: Tensor) -> bool:
        """Whether a tensor is such a one; its channels may be a symbol of `torch.compile`."""
        fits = _name(tensor.dtype) == self.dtype and tensor.dim() == self.dims
        return fits and (self.channels is None or bool(tensor.shape[1] == self.channels))


@dataclass(frozen=True)
class Signature:
    """`structure` is (args, kwargs) with a `Slot` in the place of each of `tensors`."""

    structure: Any
    tensors: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature:
        """The signature of one call.

        Raises:
            CaptureError: an argument is, or has in it, something else than tensors and plain values.
        """
        tensors: list[Tensor] = []
        try:
            structure = take_out((args, kwargs), tensors)
        except TypeError as error:
            raise CaptureError(f"it is called with {error}") from error
        return cls(structure, tuple(TensorSpec.of(tensor) for tensor in tensors))

    def joined_with(self, other: Signature) -> Signature:
        """The signature of both calls.

        Raises:
            CaptureError: they differ in more than channels.
        """
        specs = []
        for mine, others in zip(self.tensors, other.tensors, strict=False):
            specs.append(TensorSpec(mine.dtype, mine.dims, mine.channels if mine == others else None))
        joined = Signature(self.structure, tuple(specs))
        if other.structure != self.structure or not all(
            (a.dtype, a.dims) == (b.dtype, b.dims) for a, b in zip(specs, other.tensors, strict=True)
        ):
            raise CaptureError("it is called in several ways, with other arguments or dimensions")
        return joined

    def tensors_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors of a call, in the order of the graph's placeholders.

        Raises:
            UsageError: the call is not one of this signature.
        """
        tensors: list[Tensor] = []
        try:
            structure = take_out((args, kwargs), tensors)
        except TypeError as error:
            raise UsageError(f"an argument is or has {error}; {self._wanted}") from error
        if structure != self.structure:
            raise UsageError(f"the arguments are others than at deployment; {self._wanted}")
        for number, (tensor, spec) in enumerate(zip(tensors, self.tensors, strict=True)):
            if not spec.takes(tensor):
                what = f"input {number} is {_name(tensor.dtype)} of shape {tuple(tensor.shape)}"
                raise UsageError(f"{what}; this deployed module was made for {_words(spec)}")
        return tensors

    @property
    def _wanted(self) -> str:
        return f"this deployed module was made for {' and '.join(map(_words, self.tensors)) or 'no tensors'}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _words(spec: TensorSpec) -> str:
    if spec.dims == 4:
        return f"{spec.dtype} of shape (batch, {spec.channels or 'channels'}, height, width)"
    return f"{spec.dtype} with {spec.dims} dimensions"
