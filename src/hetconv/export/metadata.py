"""What an ONNX file says of its classifier: the names of the classes, and the size of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from hetconv.errors import UsageError

_CLASS_NAMES, _IMAGE_SIZE = "hetconv.class_names", "hetconv.image_size"


@dataclass(frozen=True)
class Metadata:
    """What is known of a classifier; kept in the file's `metadata_props`, names as a JSON list.

    Attributes:
        class_names: in order.
        image_size: height and width in pixels, where they are the same.
    """

    class_names: tuple[str, ...] = ()
    image_size: int | None = None

    @classmethod
    def for_images(cls, class_names: Sequence[str], example: Tensor) -> Self:
        """Of a file that takes images of the example's size alone, (B, C, H, W)."""
        height, width = example.shape[-2:]
        return cls(tuple(class_names), height if height == width else None)

    @classmethod
    def of(cls, entries: Mapping[str, str]) -> Self:
        """From a file's metadata.

        Raises:
            UsageError: they are not as this class writes them.
        """
        try:
            names = json.loads(entries.get(_CLASS_NAMES, "[]"))
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("no list of texts")
            size = int(entries[_IMAGE_SIZE]) if _IMAGE_SIZE in entries else None
        except ValueError as error:
            raise UsageError(f"its class names or image size cannot be read ({error})") from error
        return cls(tuple(names), size)

    def written(self, onnx_model: bytes) -> bytes:
        """The ONNX model with this in it; entries of others stay."""
        import onnx

        proto = onnx.load_model_from_string(onnx_model)
        entries = {entry.key: entry.value for entry in proto.metadata_props}
        if self.class_names:
            entries[_CLASS_NAMES] = json.dumps(self.class_names)
        if self.image_size is not None:
            entries[_IMAGE_SIZE] = str(self.image_size)
        onnx.helper.set_model_props(proto, entries)
        return proto.SerializeToString()  # type: ignore[no-any-return]
