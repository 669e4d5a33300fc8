"""The result row: one JSON file per (method, data set, protocol, seed), the only source of every table."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError

from contrastbench.errors import UserError
from contrastbench.files import write_text

SCHEMA = 1


class Row(BaseModel):
    """One measured value with everything needed to judge whether another row may be compared with it.

    ``value`` and ``interval`` are fractions in [0, 1] for accuracies. ``correct`` holds one bit per test
    example (packed, base64) where the protocol judges examples, so that two rows can be compared pairwise.
    ``detail`` is free: chosen regularisation, draws, failed sanity checks under the key ``failed_checks``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=SCHEMA, alias="schema")
    track: str  # unremix | swaro | uamix
    method: str
    dataset: str
    protocol: str  # e.g. linear, knn, low-label-5, pgd-20-linf@0.1, few-shot-5-way-1-shot
    metric: str  # e.g. top1, robust-top1, median-distance
    seed: int
    value: float
    interval: tuple[float, float] | None = None
    n: int  # test examples (or episodes) behind the value
    preset: str
    params_hash: str
    data_hash: str
    code_hash: str
    device: str
    wall_s: float
    peak_mb: float
    correct: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


class _Detail(BaseModel):
    """What readers take from ``detail``; all else is free."""

    failed_checks: list[str] = []
    draws: list[float] = Field(default=[], min_length=1)


class _Read(BaseModel):
    detail: _Detail = _Detail()


def pack_correct(correct: np.ndarray) -> str:
    """Pack a boolean vector (n,) into base64."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode()


def unpack_correct(packed: str, n: int) -> np.ndarray:
    """The boolean vector (n,) that :func:`pack_correct` packed."""
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=n).astype(bool)


def row_path(root: Path, stage: str, row: Row) -> Path:
    """Where a row lies: ``root/PRESET/STAGE/TRACK/DATASET/METHOD/PROTOCOL/SEED.json``.

    The stage that wrote it (probe, attack, few_shot, ...) comes first, so that each pipeline step owns a folder.
    """
    return root / row.preset / stage / row.track / row.dataset / row.method / row.protocol / f"{row.seed}.json"


def write_row(path: Path, row: Row) -> None:
    """Write ``row`` as JSON, atomically, keys in a fixed order."""
    write_text(path, json.dumps(row.model_dump(by_alias=True), indent=1) + "\n")


def parse_row(text: str, source: str) -> Row:
    """Read one row; a corrupt row or an unknown schema version is a one-line UserError naming ``source``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # too long a number is a plain ValueError
        raise UserError(f"{source}: not a result row: {error}") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if type(version) is not int or version != SCHEMA:  # True == 1
        raise UserError(f"{source}: row schema {version!r}, this version reads {SCHEMA}")
    try:
        row = Row.model_validate(content)
        _Read.model_validate(content)
        row.model_dump_json()  # halves of surrogate pairs and deep nesting are read well and fail whoever writes them
        return row
    except ValidationError as error:
        mistake = error.errors()[0]
        where = ".".join(map(str, mistake["loc"]))
        raise UserError(f"{source}: not a result row: {where}: {mistake['msg']}") from None
    except PydanticSerializationError as error:
        raise UserError(f"{source}: not a result row: {error}") from None
