"""Networks, and the variants of their layers."""

from hetconv.lab.models.registry import create_model, input_size_of
from hetconv.lab.models.variant import Variant, parse_variant

__all__ = ["Variant", "create_model", "input_size_of", "parse_variant"]
