"""Which files say the parameters of a preset: those of the project folder, over those that the package ships."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contrastbench
from contrastbench.errors import UserError
from contrastbench.params.base import overlay, parse_yaml

DEFAULT = "default"
PARAMS = "params.yaml"
EXTENDS = "extends"  # the key of a params.yaml that is an overlay over the package's
PACKAGE = "contrastbench"
Read = Callable[[str], bytes | None]  # the content of a file, by its path in the project folder; None without it


def shipped() -> Path:
    """The folder of ``params.yaml``, ``presets/``, ``profiles/`` and ``template/`` that the package brings.

    In a checkout it is the repository itself.
    """
    package = Path(contrastbench.__file__).resolve().parent
    defaults = package / "defaults"
    return defaults if defaults.is_dir() else package.parents[1]


@dataclass(frozen=True)
class ParamsFile:
    """A file as it is read: the name that messages show, its content, and whether the package ships it."""

    name: str
    content: dict[str, Any]
    shipped: bool = False


def files_of(preset: str, read: Read, shown: Callable[[str], str]) -> list[ParamsFile]:
    """The files of a preset, each an overlay over those before it. A missing or malformed one is a UserError.

    ``read`` gets a file of the project folder, ``shown`` what messages call it.
    """
    text = read(PARAMS)
    if text is None:
        raise UserError(f"{shown(PARAMS)}: no such parameter file; `contrastbench new FOLDER` makes a project")
    content = parse_yaml(text, shown(PARAMS))
    extends = EXTENDS in content
    if extends and (name := content.pop(EXTENDS)) != PACKAGE:
        raise UserError(f"{shown(PARAMS)}: {EXTENDS} = {name!r}: must be {PACKAGE}, whose parameters it then changes")
    found = [_shipped(PARAMS)] if extends else []
    found.append(ParamsFile(shown(PARAMS), content))
    if preset != DEFAULT:
        path = f"presets/{preset}.yaml"
        text = read(path)
        if text is not None:
            found.append(ParamsFile(shown(path), parse_yaml(text, shown(path))))
        elif extends and (shipped() / path).is_file():
            found.append(_shipped(path))
        else:
            raise UserError(f"{shown(path)}: no such parameter file")
    return found


def files_in(root: Path, preset: str) -> list[ParamsFile]:
    """The same of a project folder as it is on disk."""

    def read(path: str) -> bytes | None:
        return (root / path).read_bytes() if (root / path).is_file() else None

    return files_of(preset, read, lambda path: str(root / path))


def merged(files: list[ParamsFile]) -> dict[str, Any]:
    """What the files say together."""
    content: dict[str, Any] = {}
    for file in files:
        content = overlay(content, file.content)
    return content


def without_others_experiments(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``content`` without experiments that only the package names: its ablations, costs, searches, and their variants.

    They need not fit what the project changes, a batch size for instance; nor need transfer between the package's data
    sets where the project has others. ``changes`` are what the project and its preset say.
    """
    kept = dict(content)
    for name, section in content.items():
        own = changes.get(name)
        if not isinstance(section, dict) or not isinstance(section.get("variants"), dict):
            continue
        own = own if isinstance(own, dict) else {}
        gone = {key for key in ("cost", "search") if key not in own}
        gone |= {"transfer"} if "datasets" in own and "transfer" not in own else set()
        track = {key: value for key, value in section.items() if key not in gone}
        if "ablation" not in own:
            track["ablation"] = []
        named = {
            *_texts({key: value for key, value in track.items() if key != "variants"}),
            *_texts(own.get("variants")),
        }
        kept[name] = track | {"variants": {key: each for key, each in track["variants"].items() if key in named}}
    return kept


def _texts(value: Any) -> Iterator[str]:
    """Every text in ``value``, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(each)


def extends_the_package(root: Path) -> bool:
    """Whether the ``params.yaml`` of a project folder is an overlay over the package's."""
    file = root / PARAMS
    return file.is_file() and EXTENDS in parse_yaml(file.read_bytes(), str(file))


def _shipped(path: str) -> ParamsFile:
    file = shipped() / path
    return ParamsFile(str(file), parse_yaml(file.read_bytes(), str(file)), shipped=True)
