"""Names and messages in results come from outside: control characters are made visible before they are shown."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

from hetconv.plain_text import visible

T = TypeVar("T")


def cleaned(record: T) -> T:
    """The same record with all its texts `visible`."""
    adapter = TypeAdapter(type(record))
    return adapter.validate_python(_clean(adapter.dump_python(record)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    return value
