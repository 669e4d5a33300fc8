"""A preset for the user's own data, of what was seen of them: what ``contrastbench inspect`` prints."""

import math
import re
from typing import Any

import numpy as np
import yaml

from contrastbench.datasets.survey import Seen
from contrastbench.errors import UserError
from contrastbench.params.declared import NAME
from contrastbench.pipeline.enough import fewest
from contrastbench.registry import DATASETS, DECLARED, RESERVED_IN_NAMES, RESERVED_NAME

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 300, 12, 50  # of a training: own data may be few
CORRUPTED = 250  # test images, as in the default run
WAY, SHOTS, LOW_SHOTS = 5, (1, 5), (1, 2, 5, 10, 20)
PROTOTYPES = 60  # of the largest variant: a batch and its queue must hold as many
PATCH, FRAMES = 16, (64, 128)  # of 10 ms
FRAME_S = 0.01
MOST_SEGMENTS = 8
GRAPHS = 128  # the published batch
FOLDS = 10


def name_for(path: str, name: str | None = None) -> str:
    """What a data set may be called: ``name``, or what the path suggests; a UserError where ``name`` is not free."""
    found = name or re.sub(r"[^a-z0-9]+", "-", path.rstrip("/").rpartition("/")[2].lower().removesuffix(".npz"))
    found = found if name else found.strip("-").replace(RESERVED_IN_NAMES, "-") or "mine"
    taken = found == RESERVED_NAME or (found in DATASETS and found not in DECLARED)
    if not name:
        return f"my-{found}" if taken else found
    if taken or not NAME.fullmatch(found) or RESERVED_IN_NAMES in found:
        raise UserError(f"--name {name}: lower-case letters, digits, - and _, and no data set's that is known already")
    return found


def preset_for(name: str, seen: Seen) -> dict[str, Any]:
    """The whole content of a preset: the declaration, and a track's sections with numbers that the data can bear."""
    track, more = {"image": ("unremix", _images), "audio": ("uamix", _sounds), "graph": ("graphs", _graphs)}[
        seen.modality
    ]
    return {"tracks": [track], "datasets": {name: seen.declared}, **more(name, seen)}


def as_yaml(content: dict[str, Any]) -> str:
    """``content`` as one would write it: short lists and mappings in a line, nothing by reference."""
    dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    return yaml.dump(content, Dumper=dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def _images(name: str, seen: Seen) -> dict[str, Any]:
    train, test = seen.labels["train"], seen.labels["test"]
    batch = _power_of_two(len(train) // 2, 256)
    training = {"batch_size": batch, "epochs": _epochs(len(train), batch)}
    judged = {"probe": _probe(train)} | ({"corruptions": {"images": CORRUPTED}} if len(test) > CORRUPTED else {})
    attacked: dict[str, Any] = {"datasets": [name], "seeds": [0], "training": training} | judged
    if batch < PROTOTYPES:
        queue = {"queue_length": math.ceil((PROTOTYPES - batch) / batch) * batch}
        attacked["settings"] = {"swav": queue, "swaro": queue}
    return {
        "unremix": {"datasets": [name], "seeds": [0, 1, 2], "training": training, **judged},
        "swaro": attacked,
    }


def _sounds(name: str, seen: Seen) -> dict[str, Any]:
    train, test = seen.labels["train"], seen.labels["test"]
    frames = next((each for each in FRAMES if np.median(seen.seconds) < 2 * each * FRAME_S), FRAMES[-1])
    segments = max(1, min(MOST_SEGMENTS, round(float(np.median(seen.seconds)) / (frames * FRAME_S))))
    batch = {"training": {"batch_size": _power_of_two(len(train) * segments // 2, 32)}}
    found: dict[str, Any] = {
        "datasets": [name],
        "front_end": {"frames": frames, "segments": segments},
        "pretraining": batch,
        "tuning": {"head_step": batch, "encoder_step": batch},
        "probe": _probe(train),
    }
    shots = [each for each in SHOTS if each < fewest(test)]
    found["few_shot"] = {"way": min(WAY, len(np.unique(test))), "shots": shots} if shots else None
    found["low_shot"] = {"shots": [each for each in LOW_SHOTS if each <= fewest(train)]}
    if seen.seconds.max() < (frames + 2) * FRAME_S:  # no clip fills a segment
        found["audio_attack"] = None
    return {"uamix": found}


def _graphs(name: str, seen: Seen) -> dict[str, Any]:
    train = seen.labels["train"]
    equal = math.ceil(len(train) / GRAPHS)
    return {
        "graphs": {
            "datasets": [name],
            "seeds": [0, 1, 2],
            "batches": {name: len(train) // equal},
            "folds": {"outer": min(FOLDS, fewest(train))},
            "probe": _probe(train),
        }
    }


def _probe(train: np.ndarray) -> dict[str, Any]:
    few = fewest(train)
    return {"low_label_shots": [each for each in (5, 20) if each <= few // 2], "knn_neighbours": min(20, max(1, few))}


def _power_of_two(most: int, highest: int) -> int:
    return int(min(highest, 2 ** int(math.log2(max(2, most)))))


def _epochs(count: int, batch: int) -> int:
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, math.ceil(STEPS / max(1, count // batch))))
