"""What a setting says of itself, once for Python, study files and the command line: meaning, range, choices, name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hetconv.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """Stands in the annotation of a field, such as `epochs: Annotated[int, Setting("…", at_least=1)]`.

    Attributes:
        help: the line that the command's help shows.
        at_least, at_most, above, below: the range of a number.
        option: its name on the command line, where that is not the field's own.
        positional: on the command line it is given without an option's name.
    """

    help: str = ""
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    option: str | None = None
    positional: bool = False

    @property
    def rule(self) -> str:
        """The range in words; empty without one."""
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)

    def allows(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def stated(annotation: Any) -> tuple[Any, Setting | None]:
    """The type that an annotation names, None left out, and the setting in it."""
    if get_origin(annotation) in (Union, UnionType):
        return stated(next(kind for kind in get_args(annotation) if kind is not NoneType))
    if get_origin(annotation) is not Annotated:
        return annotation, None
    inner, *said = get_args(annotation)
    return stated(inner)[0], next((one for one in said if isinstance(one, Setting)), None)


@cache
def settings_of(kind: Any) -> dict[str, tuple[Any, Setting | None]]:
    """Type and setting of each field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: stated(hints[field.name]) for field in fields(kind)}


def check(settings: object) -> None:
    """See that every value is one of its field's choices, or in its field's range; None is no value.

    Raises:
        UsageError: one is not.
    """
    tree: Any = type(settings)
    for name, (kind, setting) in settings_of(tree).items():
        value = getattr(settings, name)
        if value is None or setting is None:
            continue
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise UsageError(f"{name}={value!r} must be one of {', '.join(get_args(kind))}")
        if setting.rule and not setting.allows(value):
            raise UsageError(f"{name}={value} must be {setting.rule}")
