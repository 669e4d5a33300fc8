"""Imported checkpoints: what counts is their contents, not their path, and once imported nothing needs the file."""

import json
from functools import cache
from pathlib import Path
from typing import TypeVar

from contrastbench.errors import UserError
from contrastbench.files import file_hash, reading
from contrastbench.params.audio_track import AudioPretrainParams, LibrarySoundParams, TuneParams
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.images import EncoderParams

P = TypeVar("P", bound=PretrainParams)


def by_contents(params: P, trained: Path) -> P:
    """``params`` with ``sha256:...`` in place of an imported checkpoint's path; unchanged where none is imported.

    ``trained`` is the folder that the stage ``pretrain`` leaves for them (for a tuned method: for what it starts
    from). What this returns is what is hashed and recorded; the path itself is read by the stage ``pretrain`` alone.
    A path to nothing stays as it is where nothing was imported yet: the stage ``pretrain`` will refuse it. Weights of
    a hub, whose contents nobody knows before they are downloaded, count by their name, as ``hub:NAME``.
    """
    if isinstance(params, TuneParams):
        return params.model_copy(update={"start": by_contents(params.start, trained)})
    encoder = _encoder(params)
    if encoder is not None and encoder.is_from_a_hub:
        return _with_checkpoint(params, f"hub:{encoder.pretrained}")
    contents = _contents(params, trained)
    return params if contents is None else _with_checkpoint(params, f"sha256:{contents}")


def import_record(params: PretrainParams, trained: Path) -> dict[str, dict[str, str]]:
    """What ``run.json`` remembers of an imported checkpoint, so that the file may go; nothing where there is none."""
    contents = _contents(params, trained)
    return {} if contents is None else {"imported": {"path": _file(params)[1], "sha256": contents}}


def _contents(params: PretrainParams, trained: Path) -> str | None:
    """sha256 of the checkpoint that ``params`` name; None where they name none, or one that is not there."""
    key, path = _file(params)
    return checkpoint_hash(path, trained, key) if path else None


def _file(params: PretrainParams) -> tuple[str, str]:
    """The key that names a file to import, and what it names; "" where there is none."""
    if isinstance(params, AudioPretrainParams):
        return "pretraining.checkpoint", params.checkpoint or ""
    encoder = _encoder(params)
    if encoder is not None and not encoder.is_from_a_hub:
        key = "encoder.pretrained" if isinstance(params, ImagePretrainParams) else "pretraining.checkpoint"
        return key, encoder.pretrained
    return "", ""


def _encoder(params: PretrainParams) -> EncoderParams | None:
    """The section that says ``pretrained``, where ``params`` have one."""
    return params.encoder if isinstance(params, ImagePretrainParams | LibrarySoundParams) else None


def _with_checkpoint(params: P, named: str) -> P:
    encoder = _encoder(params)
    if encoder is not None:
        return params.model_copy(update={"encoder": encoder.model_copy(update={"pretrained": named})})
    return params.model_copy(update={"checkpoint": named})


def checkpoint_hash(path: str, trained: Path, key: str) -> str | None:
    """sha256 of the checkpoint at ``path``; where it is gone, what ``run.json`` in ``trained`` remembers of it.

    None where neither is there. Raises UserError where the folder holds weights imported from elsewhere: to train
    anew would take them away, and could not bring others. ``key`` is the parameter that names the path.
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
            f"{key} = {path}: no such file; the weights in {trained} come from "
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
