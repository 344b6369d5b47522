"""Variants: one spec string says which kind of layer stands where the dense network has a K×K convolution."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic_core import CoreSchema, core_schema

from hetconv.errors import UsageError
from hetconv.pattern import Arrangement

Layer = Literal["dense", "het", "gwc-pwc", "dwc-pwc"]

GRAMMAR = (
    "dense, het-p<P>, het-pc, gwc<G>-pwc or dwc-pwc; then, where wanted, -blocked (het only), -se, and -w<times> (all "
    "channels of one of the own networks times this); then, if it is "
    "compressed after training, -l1-<%>, -l1-a, -l1-b, -afp-<%>, -sbp, -sbpa, -connection-<%>, -depgraph-<%>, "
    "-depgraph-sparse-<%>, -int8 or -onnx"
)
EXAMPLES = (
    "dense", "het-p4", "het-pc", "het-p4-se", "het-p4-blocked", "gwc4-pwc", "dwc-pwc", "l1-a", "l1-50", "afp-50", "sbp",
    "sbpa", "connection-90", "depgraph-50", "dense-int8", "dense-onnx", "het-p4-int8", "het-p4-l1-50",
)  # fmt: skip

_SPEC = re.compile(
    r"(?:(?P<dense>dense)|het-p(?P<p>[1-9]\d*|c)(?P<blocked>-blocked)?|gwc(?P<groups>[1-9]\d*)-pwc|(?P<dwc>dwc-pwc))"
    r"(?P<se>-se)?(?:-w(?P<width>\d+(?:\.\d+)?))?"
)
_COMPRESSED = re.compile(
    r"(?:(?P<base>.+)-)?(?P<method>(?:l1|afp|sbp|sbpa|connection|depgraph|depgraph-sparse|int8|onnx)(?:-(?:[ab]|[\d.]+(?:x\d+)?))?)"
)


@dataclass(frozen=True)
class Variant:
    """A parsed spec.

    `p` is P of het layers and `groups` G of gwc-pwc blocks; `None` there means "as many as there are input channels"
    (het-pc, dwc-pwc). `squeeze_excitation` adds such a block (reduction 8) after each replaced convolution.
    `width` multiplies the channels.
    Where `method` is given, the network of the variant `base` is trained and then compressed by it
    (`hetconv.lab.compress.parse_method`); the other fields are the base's. In files and tables a variant is its spec.
    """

    spec: str
    layer: Layer
    p: int | None = None
    groups: int | None = None
    arrangement: Arrangement = "shifted"
    squeeze_excitation: bool = False
    width: float = 1.0
    method: str | None = None

    def __str__(self) -> str:
        return self.spec

    @property
    def base(self) -> Variant:
        """What is trained: the variant itself where nothing is compressed after that."""
        if self.method is None:
            return self
        return replace(self, spec=self.spec.removesuffix(self.method).removesuffix("-") or DENSE.spec, method=None)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            parse_variant, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


DENSE = Variant("dense", "dense")


def parse_variant(spec: str) -> Variant:
    """Parse a spec such as het-p4, het-pc-se, gwc4-pwc, dwc-pwc, l1-a or het-p4-int8.

    Raises:
        UsageError: the spec is of no known form.
    """
    match = _SPEC.fullmatch(spec)
    if match is None and (compressed := _COMPRESSED.fullmatch(spec)):
        return replace(parse_variant(compressed["base"] or DENSE.spec), spec=spec, method=compressed["method"])
    if match is None:
        near = difflib.get_close_matches(spec, EXAMPLES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"unknown variant {spec!r}{hint}; a variant is {GRAMMAR}")
    rest: dict[str, Any] = {"squeeze_excitation": match["se"] is not None, "width": float(match["width"] or 1)}
    if match["dense"]:
        return Variant(spec, "dense", **rest)
    if match["dwc"]:
        return Variant(spec, "dwc-pwc", **rest)
    if match["groups"]:
        return Variant(spec, "gwc-pwc", groups=int(match["groups"]), **rest)
    p = None if match["p"] == "c" else int(match["p"])
    return Variant(spec, "het", p, None, "blocked" if match["blocked"] else "shifted", **rest)


def parse_variants(specs: str) -> tuple[Variant, ...]:
    """Parse comma-separated specs."""
    return tuple(map(parse_variant, specs.split(",")))
