"""Networks by name, with each kind of layer."""

from hetconv.lab.models.registry import create_model, input_size_of

__all__ = ["create_model", "input_size_of"]
