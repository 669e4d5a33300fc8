"""Frozen, typed parameter sections, and error messages that name file, key path, value and remedy."""

import difflib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from contrastbench.errors import UserError

MAX_DEPTH = 100
T = TypeVar("T", bound="Section")


class Section(BaseModel):
    """A group of parameters: immutable, refuses unknown keys and infinite numbers, converts no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def without_repeats(values: tuple) -> tuple:
    """``values``, for a validator of a list in which nothing may stand twice; ValueError where something does."""
    twice = [value for position, value in enumerate(values) if value in values[:position]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice")
    return values


# The parser in C is ten times as fast, and each of a run's hundreds of processes reads the parameters.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):
    """SafeLoader that also reads ``1e-3`` as a number, and refuses a key that stands twice or is no plain value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"the key {sorted(map(str, twice))[0]!r} stands twice")
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # What int(), date() and PyYAML's own tables raise for a value that is not of its type.
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(problem=f"no valid {kind}: {error}", problem_mark=mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; a missing or malformed file is a UserError of one line."""
    if not path.is_file():
        raise UserError(f"{path}: no such parameter file")
    return parse_yaml(path.read_bytes(), str(path))


def parse_yaml(text: bytes, source: str) -> dict[str, Any]:
    """Read one YAML mapping from ``text``; ``source`` leads the message of the UserError for a malformed one."""
    try:
        _require_shallow(text.decode("utf-8"))
        content = yaml.load(text.decode("utf-8"), _Loader)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise UserError(f"{source}: the top level must be a mapping of sections")
        _require_plain(content, source, ())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{source}: a section or list that holds itself") from None
    return content


def _require_shallow(text: str) -> None:
    """Refuse what is nested deeper than parameters can be; the parser in C would crash on a hundred thousand levels."""
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep, line {event.start_mark.line + 1}")


def _require_plain(value: Any, source: str, path: tuple[str, ...]) -> None:
    """Refuse what YAML knows and JSON, and so no parameter, does not: dates, sets, bytes, keys that are no text."""
    where = ".".join(path)
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UserError(f"{source}: {where + ': ' if where else ''}the key {key} is no text; put it in quotes")
            _require_plain(inner, source, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _require_plain(inner, source, (*path, str(number)))
    elif value is not None and not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise UserError(f"{source}: {where} = {value}: a YAML {kind}, which no parameter is; put text in quotes")


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
        # Through JSON, because strict mode then reads lists as tuples and strings as literals.
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise UserError(f"{source(_path(error.errors()[0]))}: {explain(model, error)}") from None


def explain(model: type[Section], error: ValidationError) -> str:
    """The first mistake of ``error`` in one line: key path, value, what is allowed, the nearest valid key."""
    mistake = error.errors()[0]
    path = _path(mistake)
    where = ".".join(path)
    if mistake["type"] == "extra_forbidden":
        siblings = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(siblings)}"
        return f"{where}: unknown key{hint}"
    if mistake["type"] == "missing":
        return f"{where}: this key is required and missing"
    message = mistake["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = mistake["input"]
    if isinstance(value, dict):  # a rule between several keys, which the message names
        return f"{where}: {message}" if where else message
    return f"{where} = {json.dumps(value)}: {message}"


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
            candidates = _sections_of(field.annotation)
        if not candidates:
            return []
        section = candidates[0]
    return sorted(getattr(section, "model_fields", {}))


def _sections_of(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for inner in getattr(annotation, "__args__", ()) for s in _sections_of(inner)]


def params_hash(section: Section) -> str:
    """Twelve hexadecimal digits over the section's canonical JSON: equal parameters, equal hash."""
    canonical = json.dumps(section.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
