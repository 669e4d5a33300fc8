"""Result rows, the only source of every table: one file per job, one line per row."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.values import Seed
from contrastbench.results.order import natural
from contrastbench.results.protocols import MOST, Protocol

SCHEMA = 2
MOST_ORDERED = 10_000_000  # examples whose order readers make anew
Amount = Annotated[float, Field(ge=0, le=MOST)]


class Row(BaseModel):
    """One measured value with everything needed to judge whether another row may be compared with it.

    ``schema_version`` is the form that it was read in; it is always written in today's. ``base`` is the registered
    method behind ``method``, which may be the label of a variant. ``value`` and ``interval`` are fractions in [0, 1]
    for accuracies. ``data_hash`` is of the data that were judged, ``trained_data_hash`` of those that the encoder was
    trained on (None: there is no encoder, or schema 1, which did not say). ``correct`` holds one bit per test example
    (packed, base64) where the protocol judges examples, so that two rows can be compared pairwise. ``detail`` is free:
    chosen regularisation, draws, failed sanity checks under the key ``failed_checks``; ``drawn_from`` where the ``n``
    test examples are the first of the seed's order of so many (evaluation/verdicts.py:attack_order).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: int = Field(default=SCHEMA, alias="schema")
    preset: str
    stage: str
    track: str
    dataset: str  # the data set, or TRAINED-to-JUDGED
    method: str
    base: str
    protocol: Protocol
    metric: str  # a key of metrics.METRICS
    seed: Seed
    value: Amount
    interval: tuple[float, float] | None = None
    n: int = Field(ge=1, le=MOST)  # test examples (or episodes) behind the value
    params_hash: str
    data_hash: str
    trained_data_hash: str | None = None
    code_hash: str
    device: str
    wall_s: Amount
    peak_mb: Amount
    correct: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)

    @property
    def identity(self) -> tuple:
        """What a row measures; no two rows measure the same."""
        return (self.preset, self.track, self.dataset, self.method, self.protocol.name, self.metric, self.seed)


class _Detail(BaseModel):
    """What readers take from ``detail``; all else is free."""

    model_config = ConfigDict(allow_inf_nan=False)

    failed_checks: list[str] = []
    draws: list[float] = Field(default=[], min_length=1)
    drawn_from: int = Field(default=MOST_ORDERED, strict=True, ge=1, le=MOST_ORDERED)
    C: float | None = None
    by_C: dict[float, tuple[float, float]] = {}


class _Read(BaseModel):
    detail: _Detail = _Detail()


def pack_correct(correct: np.ndarray) -> str:
    """Pack a boolean vector (n,) into base64."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode()


def unpack_correct(packed: str, n: int) -> np.ndarray:
    """The boolean vector (n,) that :func:`pack_correct` packed."""
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=n).astype(bool)


def rows_text(rows: Iterable[Row]) -> str:
    """One line per row, sorted; keys in a fixed order, parts that a protocol does not have left out."""

    def place(row: Row) -> tuple:
        return (row.method, natural(row.protocol.name), row.metric, row.seed)

    return "".join(f"{_line(row)}\n" for row in sorted(rows, key=place))


def _line(row: Row) -> str:
    content = row.model_dump(by_alias=True) | {"schema": SCHEMA}
    content["protocol"] = row.protocol.model_dump(exclude_none=True)
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a job's rows as one file, whole or not at all."""
    write_text(path, rows_text(rows))


def parse_row(text: str, source: str) -> Row:
    """Read one line; a corrupt row or an unknown schema version is a one-line UserError naming ``source``."""
    content = parse_json(text, source)
    version = content.get("schema") if isinstance(content, dict) else None
    if type(version) is not int or version != SCHEMA:  # True == 1
        raise UserError(f"{source}: row schema {version!r}, this version reads {SCHEMA}")
    return validated(content, source)


def parse_json(text: str, source: str) -> Any:
    """The JSON in ``text``; anything else is a UserError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # too long a number is a plain ValueError
        raise UserError(f"{source}: not a result row: {error}") from None


def validated(content: dict[str, Any], source: str) -> Row:
    """The row with this ``content``; a mistake is a UserError."""
    try:
        row = Row.model_validate_json(json.dumps(content))  # strict mode reads lists as tuples only from JSON
        _Read.model_validate(content)
        row.model_dump_json()  # halves of surrogate pairs and deep nesting can be read, but not be written,
        json.dumps(content, allow_nan=False)  # nor can infinite numbers in ``detail``
    except ValidationError as error:
        mistake = error.errors()[0]
        where = ".".join(map(str, mistake["loc"]))
        raise UserError(f"{source}: not a result row: {where + ': ' if where else ''}{mistake['msg']}") from None
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: not a result row: {error}") from None
    return row
