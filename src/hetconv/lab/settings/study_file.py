"""A study read from its TOML file: strictly, and with one line for each key or value that is wrong."""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hetconv.errors import UsageError, WrongFileError
from hetconv.files import reading
from hetconv.lab.results import Claim
from hetconv.lab.settings.comparison import StageSettings
from hetconv.lab.settings.recipe import Recipe
from hetconv.lab.settings.study import StudyDefinition
from hetconv.records import adapter

STUDIES = Path(__file__).with_name("studies")
TEXT = "text"
"""The one field of a study that is no key of its file."""
TABLES = {"recipes": Recipe, "claims": Claim, "stages": StageSettings}


def shipped() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.toml")))


def load_definition(name: str) -> StudyDefinition:
    """Read a study: a path to a TOML file, or the name of a shipped one (`digits` or `digits.toml`).

    Raises:
        UsageError: there is none of that name.
        WrongFileError: it has unknown or missing keys or wrong values; one line for each.
    """
    path = Path(name).expanduser()
    if path.is_dir() and name not in shipped():
        raise UsageError(f"{name} is a folder; name the study, and give its folder with --out")
    if not path.is_file():
        path = STUDIES / f"{name.removesuffix('.toml')}.toml"
    if ("/" in name.removesuffix(".toml") and not Path(name).expanduser().is_file()) or not path.is_file():
        raise UsageError(f"looked for the study {name}; it is not there. Shipped studies: {', '.join(shipped())}")
    try:
        with reading(path):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WrongFileError(path, [f"is not UTF-8 text ({error.reason} at byte {error.start})"]) from error
    return parse_definition(text, path.name)


def parse_definition(text: str, called: str) -> StudyDefinition:
    """A study from the text of its file, called `called` in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongFileError(called, [f"is not TOML: {error}"]) from error
    wrong = [_unknown((TEXT,))] if TEXT in document else []
    try:
        found = adapter(StudyDefinition).validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise WrongFileError(called, [*wrong, *map(_line, error.errors())]) from error
    if wrong:
        raise WrongFileError(called, wrong)
    return replace(found, text=text)


def _line(found: Any) -> str:
    """What is wrong with one key or value."""
    where = ".".join(map(str, found["loc"]))
    rule = str(found["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    match found["type"]:
        case "missing":
            return f"{where} is missing"
        case "unexpected_keyword_argument":
            return _unknown(found["loc"])
        case "dataclass_type":
            return f"{where}={found['input']!r} must be a table"
        case "value_error":
            return f"{where}: {rule}" if where else rule
    return f"{where}={found['input']!r} must be {rule}"


def _unknown(place: tuple[Any, ...]) -> str:
    kind = StudyDefinition if len(place) == 1 else TABLES[place[0]]
    known = [item.name for item in fields(kind) if (kind, item.name) != (StudyDefinition, TEXT)]
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{'.'.join(map(str, place))} is no key of a study; {hint}"
