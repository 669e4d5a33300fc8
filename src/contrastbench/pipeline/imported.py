"""Imported checkpoints: what counts is their contents, not their path, and once imported nothing needs the file."""

import json
from functools import cache
from pathlib import Path
from typing import TypeVar

from contrastbench.errors import UserError
from contrastbench.files import file_hash, reading
from contrastbench.params.audio_track import AudioPretrainParams, TuneParams
from contrastbench.params.evaluation import PretrainParams

P = TypeVar("P", bound=PretrainParams)


def by_contents(params: P, trained: Path) -> P:
    """``params`` with ``sha256:...`` in place of an imported checkpoint's path; unchanged where none is imported.

    ``trained`` is the folder that the stage ``pretrain`` leaves for them (for a tuned method: for what it starts
    from). What this returns is what is hashed and recorded; the path itself is read by the stage ``pretrain`` alone.
    A path to nothing stays as it is where nothing was imported yet: the stage ``pretrain`` will refuse it.
    """
    if isinstance(params, TuneParams):
        return params.model_copy(update={"start": by_contents(params.start, trained)})
    if not isinstance(params, AudioPretrainParams) or params.checkpoint is None:
        return params
    contents = checkpoint_hash(params.checkpoint, trained)
    return params if contents is None else params.model_copy(update={"checkpoint": f"sha256:{contents}"})


def import_record(params: PretrainParams, trained: Path) -> dict[str, dict[str, str]]:
    """What ``run.json`` remembers of an imported checkpoint, so that the file may go; nothing where there is none."""
    if not isinstance(params, AudioPretrainParams) or params.checkpoint is None:
        return {}
    contents = checkpoint_hash(params.checkpoint, trained)
    return {} if contents is None else {"imported": {"path": params.checkpoint, "sha256": contents}}


def checkpoint_hash(path: str, trained: Path) -> str | None:
    """sha256 of the checkpoint at ``path``; where it is gone, what ``run.json`` in ``trained`` remembers of it.

    None where neither is there. Raises UserError where the folder holds weights imported from elsewhere: to train
    anew would take them away, and could not bring others.
    """
    try:
        facts = Path(path).stat()
        return _hash_of(path, facts.st_size, facts.st_mtime_ns)
    except OSError:
        imported = _remembered(trained / "run.json")
    if imported is None:
        return None
    if imported["path"] != path:
        raise UserError(
            f"pretraining.checkpoint = {path}: no such file; the weights in {trained} come from "
            f"{imported['path']}, name that one to keep them"
        )
    return imported["sha256"]


def _remembered(path: Path) -> dict[str, str] | None:
    """What a training's record says of the checkpoint that it imported."""
    if not path.is_file():
        return None
    with reading(path, "record of a training run", "delete it and run the training again"):
        imported = json.loads(path.read_text(encoding="utf-8")).get("imported")
        return None if imported is None else {key: str(imported[key]) for key in ("path", "sha256")}


@cache
def _hash_of(path: str, size: int, modified_ns: int) -> str:
    """The hash of a file as it was at that time: one process asks for it many times over."""
    return file_hash(Path(path))
