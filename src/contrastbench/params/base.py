"""Frozen, typed parameter sections, and error messages that name file, key path, value and remedy."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from contrastbench.errors import UserError
from contrastbench.params.plain_yaml import dotted, parse_yaml
from contrastbench.registry import nearest

LONGEST_VALUE, LONGEST_MESSAGE = 200, 1000  # characters that are shown
# What pydantic says of JSON, in the words of YAML.
_IN_YAML = {"input should be an object": "must be a section", "input should be a valid array": "must be a list"}
T = TypeVar("T", bound="Section")


class Section(BaseModel):
    """A group of parameters: immutable, refuses unknown keys and infinite numbers, converts no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def on(self, trained: str, judged: str) -> "Section":
        """What of it counts for an encoder ``trained`` on one data set and ``judged`` on another: all, by default."""
        return self


@dataclass(frozen=True)
class SectionFrom:
    """Marks a field of type ``Section`` whose own class is looked up: ``Annotated[Section, SectionFrom(find)]``.

    What is found may also be ``that class | None``.
    """

    find: Callable[[], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the class that is found."""
        return handler(self.find())


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; a missing or malformed file is a UserError of one line."""
    if not path.is_file():
        raise UserError(f"{path}: no such parameter file")
    return parse_yaml(path.read_bytes(), str(path))


def overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` merged over it: mappings merge, everything else replaces."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def validate(model: type[T], content: dict[str, Any], source: Callable[[list[str]], str]) -> T:
    """Validate ``content`` into ``model``; the first mistake becomes a one-line UserError.

    ``source`` tells from a key path which file sets it; its answer leads the message.
    """
    try:
        return from_plain(model, content)
    except ValidationError as error:
        raise UserError(f"{source(_path(_first(error)))}: {explain(model, error)}") from None


def from_plain(model: type[T], content: dict[str, Any]) -> T:
    """``content`` as YAML and JSON know it, as a section; pydantic's ValidationError where it is none."""
    # Through JSON, because strict mode then reads lists as tuples and strings as literals.
    return model.model_validate_json(json.dumps(content))


def explain(model: type[Section], error: ValidationError) -> str:
    """The first mistake of ``error`` in one line: key path, value, what is allowed, the nearest valid key."""
    mistake = _first(error)
    shown, message = _told(model, mistake)
    return f"{dotted(_path(mistake))}{shown}: {_cut(message, LONGEST_MESSAGE)}".removeprefix(": ")


def refusal(message: str, *path: str | int, value: Any = None) -> ValidationError:
    """What a validator raises to refuse the ``value`` at ``path``, which leads on from the place it checks.

    A ``value`` of None is not shown.
    """
    return _refused("" if value is None else _shown(value), message, path, value)


def moved(error: ValidationError, model: type[Section], *path: str | int, but: int = 0) -> ValidationError:
    """The first mistake of ``error``, made in a ``model`` that was validated on its own, as one at ``path``.

    The first parts of its own path, ``but`` so many, are left out.
    """
    mistake = _first(error)
    return _refused(*_told(model, mistake), (*path, *mistake["loc"][but:]), mistake["input"])


def _first(error: ValidationError) -> Any:
    """The mistake to tell of; where a key is missing because it is misspelt, what stands in its place."""
    mistakes = error.errors()
    missing = [each for each in mistakes if each["type"] == "missing"]
    for each in mistakes if mistakes[0] in missing else ():
        beside = [other["loc"][-1] for other in missing if other["loc"][:-1] == each["loc"][:-1]]
        if each["type"] == "extra_forbidden" and nearest(str(each["loc"][-1]), map(str, beside)):
            return each
    return mistakes[0]


def _refused(shown: str, message: str, path: tuple[str | int, ...], value: Any) -> ValidationError:
    told = PydanticCustomError("refused", "{shown}: {message}", {"shown": shown, "message": message})
    return ValidationError.from_exception_data("refused", [InitErrorDetails(type=told, loc=path, input=value)])


def _told(model: type[Section], mistake: Any) -> tuple[str, str]:
    """What follows the key path in a message: the value (nothing where the key itself is wrong), and what is wrong."""
    if mistake["type"] == "refused":
        return mistake["ctx"]["shown"], mistake["ctx"]["message"]
    path = _path(mistake)
    if mistake["type"] == "extra_forbidden":
        siblings = _keys_at(model, path[:-1])
        near = nearest(path[-1], siblings)
        hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(siblings) or 'none'}"
        return "", f"unknown key; {hint}"
    if mistake["type"] == "missing":
        return "", "this key is required and missing"
    message = mistake["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    message = _IN_YAML.get(message, message)
    value = mistake["input"]
    # A mapping is refused for a rule between several keys, which the message names.
    return "" if isinstance(value, dict) else _shown(value), message


def _shown(value: Any) -> str:
    return f" = {_cut(json.dumps(value, default=str), LONGEST_VALUE)}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def _path(mistake: Any) -> list[str]:
    """The key path of one of pydantic's mistakes, which marks a wrong key of a free mapping by a part of its own."""
    return [str(part) for part in mistake["loc"] if part != "[key]"]


def _keys_at(model: type[Section], path: list[str]) -> list[str]:
    """The valid keys of the section that ``path`` leads to (empty if it leads into a free mapping)."""
    section: Any = model
    for part in path:
        field = getattr(section, "model_fields", {}).get(part)
        if field is None:
            candidates = _sections_of(section)
        else:
            found = [marker.find() for marker in field.metadata if isinstance(marker, SectionFrom)]
            candidates = [section for each in found for section in _sections_of(each)] or _sections_of(field.annotation)
        if not candidates:
            return []
        section = candidates[0]
    return sorted(field.alias or name for name, field in getattr(section, "model_fields", {}).items())


def _sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for inner in getattr(annotation, "__args__", ()) for s in _sections_of(inner)]


def params_hash(section: Section) -> str:
    """Twelve hexadecimal digits over the section's canonical JSON: equal parameters, equal hash."""
    canonical = json.dumps(section.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
