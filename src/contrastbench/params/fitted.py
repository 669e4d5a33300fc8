"""Sections of a track that fit own data, where a preset or project chooses these and says nothing else.

The defaults in params.yaml are for its own data sets: grey digits, notes, molecules. What is changed here stands in the
resolved parameters like any other value.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from contrastbench.registry import KINDS

EPS, STEP = "8/255", "4/255"  # of attacks inside training: the radius of the literature on photographs
BUDGET = {
    "linf": ["4/255", EPS, "16/255"],
    "main": EPS,
    "large": 0.5,
    "l2": [],
    "l1": [],
    "carlini_wagner_step": 0.01,
}
# SimCLR's for photographs (Chen et al., 2020), with the crops of smaller encoders.
COLOUR = {
    "crop_scale": [0.2, 1.0],
    "flip_probability": 0.5,
    "jitter_probability": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grayscale_probability": 0.2,
}
BLURRED_FROM = 64  # pixels a side: SimCLR does not blur CIFAR's 32
BATCH = 64  # images: own data may be few
SOUND_BATCH = 32  # of tuning, as of pretraining
SEGMENTS = 4  # of a clip: own clips are longer than the notes
PER_DATASET = (  # mappings by the name of a data set
    ("robustness", "budgets"),
    ("few_shot", "datasets"),
    ("few_shot", "class_of"),
    ("low_shot", "datasets"),
    ("audio_attack", "datasets"),
    ("batches",),
)
Path = tuple[str, ...]


def fitted(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``content`` with the sections of tracks on own data set to what fits them, where ``changes`` does not set them.

    ``content`` are all sections, ``changes`` what the project or preset says over the defaults: a track is fitted where
    they choose its data sets. Anything that is not as it should be is passed over, for whoever validates it.
    """
    declared = content.get("datasets")
    if not isinstance(declared, dict) or not declared:
        return content
    content = copy.deepcopy(content)
    for track, section in content.items():
        if track == "datasets" or not isinstance(section, dict):
            continue
        own = {name: declared[name] for name in _names(section) if isinstance(declared.get(name), dict)}
        changed = changes.get(track)
        if own and isinstance(changed, dict) and "datasets" in changed:
            for path, value in _fitting(section, [*own.values()]):
                _put(section, changed, path, value)
            if section.get("few_shot", {}) is None:  # by which the default's search goes
                _put(section, changed, ("search",), None)
            _leave_out_others(section, changed)
        for name, data in own.items():
            _judge_by(section, name, data)
    return content


def _names(section: Mapping[str, Any]) -> list[str]:
    names = section.get("datasets")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _fitting(section: dict[str, Any], own: list[Mapping[str, Any]]) -> Iterator[tuple[Path, Any]]:
    """What fits own data, by the path in the track's ``section``."""
    yield ("transfer",), []
    yield ("probe", "low_label_shots"), [5]
    modality = _modality(own[0])
    if modality == "image":
        yield from _fitting_images(section, own)
    elif modality == "audio":
        yield ("front_end", "segments"), SEGMENTS
        for step in ("head_step", "encoder_step"):
            yield ("tuning", step, "training", "batch_size"), SOUND_BATCH


def _fitting_images(section: dict[str, Any], own: list[Mapping[str, Any]]) -> Iterator[tuple[Path, Any]]:
    if any(data.get("channels", 3) == 3 for data in own):
        yield from ((("augment", key), value) for key, value in COLOUR.items())
    sizes = [data["size"] for data in own if isinstance(data.get("size"), int)]
    if min(sizes, default=0) < BLURRED_FROM:
        yield ("augment", "blur_probability"), 0.0
    else:
        yield ("augment", "blur_kernel"), min(sizes) // 20 * 2 + 1  # a tenth of the side, as SimCLR has it
    yield ("training", "batch_size"), BATCH
    yield ("corruptions", "images"), None
    if not section.get("robustness"):
        return
    yield ("search",), None  # its radii are those of the default's data
    for name, settings in _sections(section.get("settings")):
        if "step_size" in settings:
            yield ("settings", name, "eps"), EPS
            yield ("settings", name, "step_size"), STEP
    for label, variant in _sections(section.get("variants")):
        if isinstance(variant.get("settings"), dict) and "step_size" in variant["settings"]:
            yield ("variants", label, "settings", "step_size"), EPS  # of one step


def _modality(data: Mapping[str, Any]) -> str | None:
    kind = KINDS.get(str(data.get("kind")))
    return (kind.modality or data.get("modality", "image")) if kind else None


def _sections(section: Any) -> list[tuple[str, dict[str, Any]]]:
    items = section.items() if isinstance(section, dict) else ()
    return [(name, inner) for name, inner in items if isinstance(inner, dict)]


def _put(section: Any, changed: Any, path: Path, value: Any) -> None:
    """Set ``value`` at ``path`` of a ``section`` that has what it belongs to, unless ``changed`` sets it."""
    *outer, key = path
    for part in outer:
        section = section.get(part) if isinstance(section, dict) else None
        changed = changed.get(part, {}) if isinstance(changed, dict) else None
    if isinstance(section, dict) and isinstance(changed, dict) and key not in changed:
        section[key] = copy.deepcopy(value)


def _leave_out_others(section: dict[str, Any], changed: Any) -> None:
    """Forget what is said for data sets that the track does not use, where ``changed`` does not say it."""
    pairs = section.get("transfer") or []
    used = {*_names(section), *(pair.get("probe") for pair in pairs if isinstance(pair, dict))}
    for path in PER_DATASET:
        there, said = _at(section, path), _at(changed, path)
        for name in [name for name in there if name not in used and name not in said]:
            del there[name]


def _at(section: Any, path: Path) -> dict[str, Any]:
    for part in path:
        section = section.get(part) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else {}


def _judge_by(section: dict[str, Any], name: str, data: Mapping[str, Any]) -> None:
    """Let the sections that judge by data sets' names know an own one, where they do not."""
    if _modality(data) == "image" and isinstance(section.get("robustness"), dict):
        _at(section, ("robustness", "budgets")).setdefault(name, copy.deepcopy(BUDGET))
    if _modality(data) == "audio":
        for judging in ("few_shot", "low_shot", "audio_attack"):
            _at(section, (judging, "datasets")).setdefault(name, [name])
