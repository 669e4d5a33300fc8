"""Which parameters of a preset differ between two revisions, by key path."""

from pathlib import Path
from typing import Any

from contrastbench.errors import UserError
from contrastbench.params.root import Params
from contrastbench.pipeline.asked import contents_at, params_at
from contrastbench.pipeline.grid import Grid
from contrastbench.registry import DATASETS, settings_key

ABSENT = "absent"
Differences = dict[str, tuple[str, str]]


def changed_parameters(
    before: str, after: str, preset: str, root: Path = Path()
) -> tuple[Differences | None, list[str]]:
    """``{key path: (value before, value after)}`` of what a preset reads, and a line for what cannot be read.

    Where this version cannot read the parameters of a revision, their YAML is compared as it stands; None where that
    cannot be read either.
    """
    sides = before, after
    try:
        left, right = (_read_by(params_at(revision, preset, root), preset) for revision in sides)
    except UserError:  # reading the rows has told of it
        try:
            left, right = (_flat(contents_at(revision, preset, root)) for revision in sides)
        except UserError as problem:
            return None, [str(problem)]
    values = {path: (left.get(path, ABSENT), right.get(path, ABSENT)) for path in sorted(left.keys() | right.keys())}
    return {path: pair for path, pair in values.items() if pair[0] != pair[1]}, []


def names_other_data(path: str, datasets: set[str]) -> bool:
    """Whether a key path is about a data set, and about none of ``datasets``."""
    named = {part for part in path.split(".") if part in DATASETS}
    return bool(named) and named.isdisjoint(datasets)


def _read_by(params: Params, preset: str) -> dict[str, str]:
    """What the preset's tracks, methods and data sets read of ``params``, by key path."""
    content = params.model_dump(mode="json")
    shown: dict[str, Any] = {key: content[key] for key in ("tracks", "data", "datasets") if key in content}
    for name in params.tracks:
        track, own = params.track(name), content[name]
        labels = {*track.methods, *track.ablation, *track.cost}
        settings = {settings_key(track.base_method(label)) for label in labels}
        own["settings"] = {key: value for key, value in own["settings"].items() if key in settings}
        own["variants"] = {key: value for key, value in own["variants"].items() if key in labels}
        shown[name] = own
    datasets = set(Grid(preset, given=params).datasets())
    return {path: text for path, text in _flat(shown).items() if not names_other_data(path, datasets)}


def _flat(content: Any, path: str = "") -> dict[str, str]:
    if isinstance(content, dict) and content:
        items = content.items()
        return {key: text for name, inner in items for key, text in _flat(inner, f"{path}.{name}".lstrip(".")).items()}
    return {path: str(content)} if path else {}
