"""A study's definition in its storage, so that a worker on any machine needs only the storage's address."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from hetconv.errors import HetconvError, UsageError
from hetconv.records import adapter
from hetconv.study.definition import StudyDefinition
from hetconv.study.storage import shown_url

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

T = TypeVar("T")
ATTRIBUTE = "definition"
FIXED = ("networks", "data", "width", "image_size", "train_limit", "recipe", "stages")
"""What may not change in a study once it is there."""


def share_definition(storage: RDBStorage, definition: StudyDefinition, alone: str | None) -> int:
    """Put a definition into the storage, joined with what was there; returns the study's number there.

    Args:
        alone: the folder whose storage may hold no other study; None where a database may.

    Raises:
        UsageError: another study stands in the way; the message says what differs.
    """
    from optuna.exceptions import DuplicatedStudyError
    from optuna.study import StudyDirection

    others = [study.study_name for study in storage.get_all_studies() if study.study_name != definition.name]
    if alone is not None and others:
        raise UsageError(
            f"{alone} holds the study {others[0]!r}, not {definition.name!r}. Give another folder with --out"
        )
    try:
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], definition.name)
    except DuplicatedStudyError:
        study_id = storage.get_study_id_from_name(definition.name)
    there = storage.get_study_user_attrs(study_id).get(ATTRIBUTE)
    joined = definition if there is None else _joined(_read(there), definition)
    storage.set_study_user_attr(study_id, ATTRIBUTE, adapter(StudyDefinition).dump_json(joined).decode())
    return int(study_id)


def join_definition(storage: RDBStorage, name: str | None, url: str) -> StudyDefinition:
    """The definition of a study that is there; `name` may be left out where there is only one.

    Raises:
        UsageError: there is none, or none of that name, or more than one and no name is given.
    """
    found = {
        study.study_name: study.user_attrs[ATTRIBUTE]
        for study in storage.get_all_studies()
        if ATTRIBUTE in study.user_attrs
    }
    if not found:
        raise UsageError(f"{shown_url(url)} holds no study; `hetconv study run` makes one")
    if name is None and len(found) > 1:
        raise UsageError(f"{shown_url(url)} holds {', '.join(sorted(found))}; name one with --study")
    if name is not None and name not in found:
        raise UsageError(f"study={name!r} is not in {shown_url(url)}, which holds {', '.join(sorted(found))}")
    return _read(next(iter(found.values())) if name is None else found[name])


def _read(text: str) -> StudyDefinition:
    try:
        return adapter(StudyDefinition).validate_json(text, strict=True)
    except (ValidationError, UsageError) as error:
        raise HetconvError(
            f"the storage's study was written by another version of hetconv ({error}); go on with that one, or give "
            "this study another folder or name"
        ) from error


def _joined(old: StudyDefinition, new: StudyDefinition) -> StudyDefinition:
    """The new definition with the old one's variants and seeds before its own."""
    different = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    if old.recipes.get(old.recipe) != new.recipes[new.recipe] and "recipe" not in different:
        different.append("recipes")
    if different:
        changes = "; ".join(f"{name} was {getattr(old, name)} and is now {getattr(new, name)}" for name in different)
        raise UsageError(f"the storage holds another study {new.name!r}: {changes}. Give this one another name")
    return replace(new, variants=_union(old.variants, new.variants), seeds=_union(old.seeds, new.seeds))


def _union(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    return (*old, *(item for item in new if item not in old))
