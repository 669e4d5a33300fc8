"""The parameters of a run: ``params.yaml``, with a preset's overlay merged over it."""

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section, overlay, read_yaml, validate, without_repeats
from contrastbench.params.data import DataParams
from contrastbench.params.swaro import SwaroTrack
from contrastbench.params.uamix import UaMixTrack
from contrastbench.params.unremix import UnReMixTrack

Track = UnReMixTrack | SwaroTrack | UaMixTrack
DEFAULT = "default"
TRACKS = ("unremix", "swaro", "uamix")


class Params(Section):
    """Every number of a run. ``tracks`` says which systems a preset runs."""

    tracks: tuple[Literal["unremix", "swaro", "uamix"], ...] = Field(min_length=1)
    data: DataParams
    unremix: UnReMixTrack
    swaro: SwaroTrack
    uamix: UaMixTrack

    @field_validator("tracks")
    @classmethod
    def _none_stands_twice(cls, values: tuple) -> tuple:
        return without_repeats(values)

    def track(self, name: str) -> Track:
        """The section of one track; an unknown name is a UserError."""
        if name not in TRACKS:
            raise UserError(f"unknown track {name!r}; known: {', '.join(TRACKS)}")
        return getattr(self, name)


def presets(root: Path = Path()) -> list[str]:
    """Names of the presets at hand, the default first."""
    return [DEFAULT, *sorted(path.stem for path in (root / "presets").glob("*.yaml"))]


def load(preset: str = DEFAULT, root: Path = Path()) -> Params:
    """Read ``params.yaml`` in ``root`` with ``presets/PRESET.yaml`` over it.

    Raises UserError of one line for an unknown preset, key, type or range.
    """
    base_file = root / "params.yaml"
    content = read_yaml(base_file)
    if preset == DEFAULT:
        return validate(Params, content, lambda _: str(base_file))
    preset_file = root / "presets" / f"{preset}.yaml"
    if preset not in presets(root):  # a name may be no possible file name at all
        near = difflib.get_close_matches(preset, presets(root), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(presets(root))}"
        raise UserError(f"unknown preset {preset!r}; {hint}")
    changes = read_yaml(preset_file)
    if "data" in changes:
        raise UserError(f"{preset_file}: data: presets share the prepared data and may not change this section")
    return validate(
        Params,
        overlay(content, changes),
        lambda path: str(preset_file if _is_set(changes, path) else base_file),
    )


def _is_set(changes: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(changes, dict):
            return True  # an entry of a list that the preset replaced as a whole
        if part not in changes:
            return False
        changes = changes[part]
    return True
