"""YAML that every reader reads alike: PyYAML reads parameters by YAML 1.1 here, DVC reads the same file by YAML 1.2.

To the one, ``010``, ``1:30`` and ``off`` are not what they are to the other, so that DVC would record parameters that
the run did not have. Such values are refused in one line that says how to write them.
"""

import contextlib
import re
from typing import Any

import yaml

from contrastbench.errors import UserError

MAX_DEPTH = 100
MAX_DIGITS = 100
MAX_VALUES = 1_000_000

# The parser in C is ten times as fast, and each of a run's hundreds of processes reads the parameters.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Numbers that both read alike, and what either takes for a number.
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|\.\d+|[-+]?\.\d+[eE][-+]\d+")
_NUMBER_LIKE = re.compile(
    r"""[-+]?\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)?     # decimal, with leading zeros or underscores
      | [-+][\d_]+                                  # YAML 1.2 takes even -_ for an integer
      | [-+]?\.[\d_]+([eE][-+]?\d+)?
      | [-+]?0(x[\da-fA-F_]+|o[0-7_]+|b[01_]+)      # hexadecimal, octal, binary
      | [-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?        # sexagesimal: 1:30 is 90
    """,
    re.VERBOSE,
)
_OLD_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(_SafeLoader):
    """SafeLoader that also reads ``1e-3`` as a number, and refuses a key that is listed twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"the key {sorted(map(str, twice))[0]!r} is listed twice")
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # What int(), date() and PyYAML's own tables raise for a value that is not of its type.
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            mark = node.start_mark
            raise yaml.constructor.ConstructorError(problem=f"not a valid {kind}: {error}", problem_mark=mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: bytes, source: str) -> dict[str, Any]:
    """Read one YAML mapping from ``text``; ``source`` leads the message of the UserError for a malformed one."""
    try:
        decoded = text.decode("utf-8")
        _require_simple(decoded)
        loader = _Loader(decoded)
        node = loader.get_single_node()
        if node is None:
            return {}
        _require_unambiguous(node, source, (), {})
        content = loader.construct_document(node)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise UserError(f"{source}: the top level must be a mapping of sections")
        _require_plain(content, source, ())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{source}: a section or list contains itself") from None
    return content


def dotted(path: tuple[str, ...] | list[str]) -> str:
    """A key path as messages show it, in one line whatever the keys are."""
    return ".".join(part if part.isprintable() else ascii(part) for part in path)


def _require_simple(text: str) -> None:
    """Refuse a ``%YAML`` line, and what is nested deeper than parameters can be (the parser in C would crash on it)."""
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        if isinstance(event, yaml.DocumentStartEvent) and event.version:
            raise yaml.YAMLError("the line %YAML changes how values are read; remove it")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep, line {event.start_mark.line + 1}")


def _require_unambiguous(node: yaml.Node, source: str, path: tuple[str, ...], sizes: dict[int, int]) -> int:
    """Refuse unquoted values and keys that YAML 1.1 and 1.2 read differently, and aliases that multiply.

    ``sizes`` remembers the nodes that were seen; returns how many values ``node`` stands for.
    """
    if id(node) in sizes:  # an alias, which may even lead back to a node above it
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = (*path, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            size += _require_unambiguous(key, source, name, sizes)
            size += _require_unambiguous(value, source, name, sizes)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            size += _require_unambiguous(value, source, (*path, str(number)), sizes)
    elif remedy := _remedy(node):
        shown = ascii(node.value)[1:-1]
        raise UserError(f"{source}: {dotted(path)} = {shown}: YAML 1.1 and 1.2 differ on this; {remedy}")
    if size > MAX_VALUES:
        raise UserError(f"{source}: {dotted(path)}: aliases make more than {MAX_VALUES:,} values of it")
    sizes[id(node)] = size
    return size


def _remedy(node: yaml.ScalarNode) -> str:
    """How to write an ambiguous value; nothing for one that is not."""
    value = node.value
    if node.tag == "tag:yaml.org,2002:bool":
        meant = _OLD_BOOLEANS.get(value.lower())
        return f"write {meant}, or put text in quotes" if meant else ""
    read_as_number = node.tag in _NUMBER_TAGS or not node.style  # text in quotes is text to both
    if not read_as_number or _PLAIN_NUMBER.fullmatch(value) or not _NUMBER_LIKE.fullmatch(value):
        return ""
    readings = " or ".join(_readings(value)) if len(value) <= MAX_DIGITS else ""
    return f"write {readings or 'a decimal number'}, or put text in quotes"


def _readings(value: str) -> list[str]:
    """What a number may be meant to be, in decimals: as YAML 1.1 reads it, and as Python does."""
    found: list[Any] = []
    for read in (yaml.safe_load, int, lambda text: int(text, 0), float):
        with contextlib.suppress(ValueError):
            found.append(read(value))
    return [str(number) for number in dict.fromkeys(found) if isinstance(number, int | float)]


def _require_plain(value: Any, source: str, path: tuple[str, ...]) -> None:
    """Refuse what YAML knows and JSON, and so no parameter, does not: dates, sets, bytes, keys that are not text."""
    where = dotted(path)
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                place = f"{where}: " if where else ""
                raise UserError(f"{source}: {place}the key {key!a} is not text; put it in quotes")
            _require_plain(inner, source, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _require_plain(inner, source, (*path, str(number)))
    elif value is not None and not isinstance(value, str | int | float):
        kind = type(value).__name__
        shown = f"{value!s:.200}"
        raise UserError(f"{source}: {where} = {shown}: a YAML {kind}, which no parameter can be; put text in quotes")
