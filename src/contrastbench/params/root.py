"""The parameters of a run: ``params.yaml``, with a preset's overlay merged over it."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import not_
from pathlib import Path
from typing import Any, Self

from pydantic import Field, create_model, field_validator, model_validator

from contrastbench.errors import UserError
from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.base import Section, read_yaml, refusal, validate
from contrastbench.params.data import DataParams
from contrastbench.params.declared import DatasetName, Declared, declare
from contrastbench.params.files import (
    DEFAULT,
    PARAMS,
    ParamsFile,
    extends_the_package,
    files_in,
    merged,
    shipped,
    without_others_experiments,
)
from contrastbench.params.fitted import fitted
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.image_track import ImageTrack
from contrastbench.params.own_attacks import own_attacks_section
from contrastbench.params.plugins import register_plugins
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.values import without_repeats
from contrastbench.registry import hint

PRESET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# Every track has a section of its name in params.yaml.
TRACKS: dict[str, type[TrackParams]] = {
    "unremix": ImageTrack,
    "swaro": ImageTrack,
    "uamix": AudioTrack,
    "graphs": GraphTrack,
}


class Params(Section):
    """Every number of a run: these sections, and one per track. ``tracks`` says which of them a preset runs.

    plugins   files of one's own that declare methods, data sets or attacks
    datasets  data sets of one's own, by name
    """

    tracks: tuple[str, ...] = Field(min_length=1)
    plugins: tuple[str, ...] = Field(default=(), exclude_if=not_)
    data: DataParams
    datasets: Mapping[DatasetName, Declared] = Field(default={}, exclude_if=not_)

    @field_validator("tracks")
    @classmethod
    def _known_and_no_repeats(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for position, name in enumerate(values):
            if name not in TRACKS:
                raise refusal(f"unknown track {name!r}; {hint(name, TRACKS)}", position, value=name)
        return without_repeats(values)

    @model_validator(mode="after")
    def _tracks_have_names(self) -> Self:
        for name in TRACKS:
            getattr(self, name)._name = name
        return self

    def track(self, name: str) -> TrackParams:
        """The section of one track; an unknown name is a UserError."""
        if name not in TRACKS:
            raise UserError(f"unknown track {name!r}; {hint(name, TRACKS)}")
        return getattr(self, name)


_AllParams: type[Params] = create_model("Params", __base__=Params, **TRACKS)  # type: ignore[call-overload]


def presets(root: Path = Path()) -> list[str]:
    """Names of the presets at hand, the default first: the project's, and the package's where it extends that."""
    folders = [root, *([shipped()] if extends_the_package(root) else [])]
    return [DEFAULT, *sorted({path.stem for folder in folders for path in (folder / "presets").glob("*.yaml")})]


def declarations(dataset: str, root: Path = Path()) -> dict[str, Any]:
    """What each file of parameters says of a data set that it declares, by preset; unreadable files are passed over."""
    found = {}
    for preset in presets(root):
        file = root / ("params.yaml" if preset == DEFAULT else f"presets/{preset}.yaml")
        with suppress(UserError):
            declared = read_yaml(file).get("datasets")
            if isinstance(declared, dict) and dataset in declared:
                found[preset] = declared[dataset]
    return found


def load(preset: str = DEFAULT, root: Path = Path()) -> Params:
    """Read ``params.yaml`` in ``root`` with ``presets/PRESET.yaml`` over it.

    Raises UserError of one line for an unknown preset, key, type or range.
    """
    if preset != DEFAULT and (root / PARAMS).is_file():
        if preset not in presets(root):  # before it is opened: not every name can be a file's
            raise UserError(f"unknown preset {preset!r}; {hint(preset, presets(root))}")
        if not PRESET_NAME.fullmatch(preset):  # it becomes part of paths and of shell commands
            file = root / "presets" / f"{preset}.yaml"
            raise UserError(f"{file}: a preset's name is a letter, then letters, digits, - and _; rename the file")
    files = files_in(root, preset)
    if preset != DEFAULT and "data" in files[-1].content:
        raise UserError(f"{files[-1].name}: data: presets share the prepared data and may not change this section")
    return from_files(files, root)


def from_files(files: list[ParamsFile], root: Path = Path()) -> Params:
    """The parameters that files say together; a UserError names the one that is mistaken.

    ``root`` is the project folder, in which plugins are looked for.
    """

    def source(path: list[str]) -> str:
        sets = [file for file in files if _is_set(file.content, path)]
        if sets:
            return sets[-1].name
        holds = [file for file in files if not file.shipped and _is_set(file.content, path[:-1])]
        return (holds[0] if holds else files[-1]).name

    content, changes = merged(files), merged(files[1:])
    if files[0].shipped:
        content = without_others_experiments(content, changes)
    return _validated(content, changes, source, root)


def from_content(content: dict[str, Any], source: str, root: Path = Path()) -> Params:
    """The parameters that a mapping of all sections says; ``source`` leads the message of a UserError."""
    return _validated(content, content, lambda _: source, root)


def _validated(
    content: dict[str, Any], changes: dict[str, Any], source: Callable[[list[str]], str], root: Path
) -> Params:
    """The parameters, once everything that they may name is known; ``changes`` are what is set over the defaults."""
    if register_plugins(content.get("plugins"), source(["plugins"]), root):
        _learn_new_names()
    declare(content.get("datasets"))
    return validate(_AllParams, fitted(content, changes), source)


def _learn_new_names() -> None:
    """Build the types of parameters anew: sections have a key for every method and attack that is registered."""
    settings_of_modality.cache_clear()
    own_attacks_section.cache_clear()
    for section in (*dict.fromkeys(TRACKS.values()), _AllParams):
        section.model_rebuild(force=True)


def _is_set(changes: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(changes, dict):
            return True  # an entry of a list that the preset replaced as a whole
        if part not in changes:
            return False
        changes = changes[part]
    return True
