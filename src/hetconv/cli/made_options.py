"""Options of commands, made from the fields of settings, which state type, default, range, choices and help once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from hetconv.cli.option_values import fractions, numbers
from hetconv.lab.settings.setting import Setting, settings_of, stated
from hetconv.lab.variant import Variant, parse_variant, parse_variants

NONE = "none"
"""The word for an empty list, where an option that is left out means the values that the library chooses."""


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """A function as a command.

    A parameter whose type is a dataclass of settings becomes an option for each of its fields that has a `Setting`,
    and for those of dataclasses inside of it. A parameter that has a `Setting` itself becomes an option too.
    """
    hints = get_type_hints(function, include_extras=True)
    given = inspect.signature(function).parameters
    trees = {name: hints[name] for name in given if _is_tree(hints[name])}
    plain = {name: stated(hints[name]) for name in given if name not in trees}
    options: list[Parameter] = []
    for name, parameter in given.items():
        kind, setting = stated(hints[name])
        if name in trees:
            options.extend(_options(kind))
        elif setting is None:
            options.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))
        else:
            options.append(_option(name, kind, setting, parameter.default))

    @wraps(function)
    def command(**values: Any) -> None:
        own = {name: _read(name, *stated, values[name]) for name, stated in plain.items()}
        function(**own, **{name: _built(tree, values) for name, tree in trees.items()})

    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _is_tree(kind: Any) -> bool:
    return is_dataclass(kind) and kind is not Variant


def _options(tree: Any) -> Iterator[Parameter]:
    defaults = {field.name: field.default for field in fields(tree)}
    for name, (kind, setting) in settings_of(tree).items():
        if _is_tree(kind):
            yield from _options(kind)
        elif setting is not None:
            yield _option(name, kind, setting, Parameter.empty if defaults[name] is MISSING else defaults[name])


def _option(name: str, kind: Any, setting: Setting, default: Any) -> Parameter:
    """What typer makes an option of. Variants and lists are text there, which `_read` reads."""
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    if isinstance(default, Variant):
        default = default.spec
    if kind is Variant or get_origin(kind) is tuple:
        kind = str
    bounds: Any = {"min": setting.at_least, "max": setting.at_most} if kind is int else {}
    info = (
        typer.Argument(metavar=name.upper(), help=setting.help)
        if setting.positional
        else typer.Option(_flag(name, setting), help=setting.help, **bounds)
    )
    annotation: Any = Annotated[kind | None if default is None else kind, info]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(name: str, setting: Setting) -> str:
    return setting.option or f"--{name.replace('_', '-')}"


def _built(tree: Any, values: Mapping[str, Any]) -> Any:
    """The settings that options give; where one was left out, the field's default."""
    found = {}
    for name, (kind, setting) in settings_of(tree).items():
        if _is_tree(kind):
            found[name] = _built(kind, values)
        elif setting is not None and values[name] is not None:
            found[name] = _read(name, kind, setting, values[name])
    return tree(**found)


def _read(name: str, kind: Any, setting: Setting | None, value: Any) -> Any:
    """What an option's value means."""
    if setting is None or value is None:
        return value
    if kind is Variant:
        return parse_variant(value)
    if get_origin(kind) is not tuple:
        return value
    item = get_args(kind)[0]
    if item is Variant:
        return parse_variants(value)
    if value == NONE:
        return ()
    if item is str:
        return tuple(value.split(","))
    return (numbers if item is int else fractions)(_flag(name, setting).removeprefix("--"), value)
