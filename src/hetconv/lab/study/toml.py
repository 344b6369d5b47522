"""A study read from its TOML file: strictly, and with one line for each key or value that is wrong."""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hetconv.errors import UsageError, WrongFileError
from hetconv.lab.study.definition import SourcedRecipe, StudyDefinition, StudyKeys
from hetconv.lab.train import Recipe

STUDIES = Path(__file__).with_name("studies")


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
    if not path.is_file():
        path = STUDIES / f"{name.removesuffix('.toml')}.toml"
    if ("/" in name.removesuffix(".toml") and not Path(name).expanduser().is_file()) or not path.is_file():
        raise UsageError(f"looked for the study {name}; it is not there. Shipped studies: {', '.join(shipped())}")
    try:
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
    wrong: list[str] = []
    tables = document.pop("recipes", None)
    recipes = _recipes(tables, wrong)
    top = _validated(StudyKeys, document, "", wrong)
    if top is None or wrong:
        raise WrongFileError(called, wrong)
    try:
        return StudyDefinition(
            **{item.name: getattr(top, item.name) for item in fields(top)}, recipes=recipes, text=text
        )
    except UsageError as error:
        raise WrongFileError(called, [str(error)]) from error


def _recipes(tables: Any, wrong: list[str]) -> dict[str, SourcedRecipe]:
    if not isinstance(tables, dict) or not tables:
        wrong.append("recipes is missing: at least one table [recipes.<name>] with epochs, learning_rate, …")
        return {}
    found = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            wrong.append(f"recipes.{name}={table!r} must be a table [recipes.{name}]")
            continue
        source = table.pop("source", "")
        if not isinstance(source, str):
            wrong.append(f"recipes.{name}.source={source!r} must be a text")
        recipe = _validated(Recipe, table, f"recipes.{name}.", wrong)
        if recipe is not None:
            found[name] = SourcedRecipe(recipe, str(source))
    return found


def _validated(kind: type[Any], table: dict[str, Any], prefix: str, wrong: list[str]) -> Any:
    """An instance of a dataclass from a table; what is wrong with it is added to `wrong`, key by key."""
    names = [item.name for item in fields(kind)]
    before = len(wrong)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, [*names, *(["recipes"] if not prefix else [])], n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            wrong.append(f"{prefix}{key} is no key of a study; {hint}")
    for item in fields(kind):
        needed = item.default is MISSING and item.default_factory is MISSING
        if needed and item.name not in table:
            wrong.append(f"{prefix}{item.name} is missing")
    known = {key: value for key, value in table.items() if key in names}
    try:
        made = TypeAdapter(kind).validate_json(json.dumps(known, default=str), strict=True)
    except ValidationError as error:
        wrong.extend(line for line in (_line(prefix, found) for found in error.errors()) if line is not None)
        return None
    except UsageError as error:
        wrong.append(f"{prefix}{error}")
        return None
    return made if len(wrong) == before else None


def _line(prefix: str, found: Any) -> str | None:
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return None if "." not in where else f"{prefix}{where} is missing"
    if found["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{prefix}{where} is no key of a study; delete it"
    if found["type"] == "value_error":
        return f"{prefix}{str(found['msg']).removeprefix('Value error, ')}"
    rule = str(found["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{prefix}{where}={found['input']!r} must be {rule}"
