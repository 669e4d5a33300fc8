"""Builds result rows for the tests of reporting."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.params.base import read_yaml
from contrastbench.params.root import Params, load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import METHODS, WITHOUT_ENCODER
from contrastbench.results.legacy import protocol_from
from contrastbench.results.load import ROWS, Loaded, StoredRow
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row, pack_correct, rows_text, write_rows

ROOT = Path(__file__).resolve().parent.parent


def protocol_of(name: str) -> Protocol:
    """The protocol that a row calls ``name``."""
    family, _, score = name.rpartition("-")
    if family == "false-negatives":
        return Protocol(family=family, score=score)
    head = name.partition("-")[0]
    told = {"head": head} if head in ("alf", "aff", "lpaft") else {}
    norm = {"norm": "linf"} if name.startswith(("noise@", "fgsm@", "square@", "transfer-from-")) else {}
    return protocol_from(name, told | norm)


def row(
    method: str = "simclr",
    seed: int = 0,
    value: float = 0.5,
    *,
    correct: np.ndarray | None = None,
    protocol: str = "linear",
    metric: str = "top1",
    dataset: str = "mnist5k",
    track: str = "unremix",
    preset: str = "default",
    stage: str = "probe",
    base: str | None = None,
    n: int = 500,
    data_hash: str = "d" * 12,
    params_hash: str = "p" * 12,
    code_hash: str = "c" * 12,
    **detail: object,
) -> Row:
    if correct is not None:
        value, n = float(np.mean(correct)), len(correct)
    known = [name for name in (*WITHOUT_ENCODER, *METHODS) if f"{method}-".startswith(f"{name}-")]
    return Row(
        preset=preset,
        stage=stage,
        track=track,
        dataset=dataset,
        method=method,
        base=base or max(known, key=len, default=method),
        protocol=protocol_of(protocol),
        metric=metric,
        seed=seed,
        value=value,
        n=n,
        params_hash=params_hash,
        data_hash=data_hash,
        code_hash=code_hash,
        device="cpu",
        wall_s=1.0,
        peak_mb=100.0,
        correct=None if correct is None else pack_correct(correct),
        detail=detail,
    )


def loaded(rows: list[Row]) -> Loaded:
    """Rows as if read from their files."""
    return Loaded([StoredRow(item, path_of(item).as_posix()) for item in rows])


def path_of(item: Row) -> Path:
    """The file that the row of a job with one seed lies in."""
    return Layout(item.preset).rows(item.stage, Job(item.track, item.dataset, item.method, item.seed))


def write(root: Path, rows: list[Row]) -> None:
    """Write the rows into their files; other rows that lie there already are replaced."""
    for path in dict.fromkeys(path_of(item) for item in rows):
        write_rows(root / path, [item for item in rows if path_of(item) == path])


def write_old(root: Path, rows: list[Row]) -> None:
    """Write the rows as older commits hold them: a file per row, schema 1."""
    for item in rows:
        content = json.loads(rows_text([item]))
        stage, parts = content.pop("stage"), content.pop("protocol")
        del content["base"], content["trained_data_hash"]
        told = {part: parts[part] for part in ("norm", "eps", "head", "source") if part in parts}
        content |= {"schema": 1, "protocol": item.protocol.name, "detail": content["detail"] | told}
        place = f"{item.preset}/{stage}/{item.track}/{item.dataset}/{item.method}/{item.protocol.name}/{item.seed}.json"
        path = root / ROWS / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def asked(rows: list[Row], params: Params | None = None, *, code: bool = True, old: bool = False) -> list[Row]:
    """The rows as jobs with these parameters (the repository's, if None) would have made them.

    With ``code``, as the present code would; if ``old``, with the hash of parameters that schema 1 had.
    """
    grids = {item.preset: Grid(item.preset, ROOT, given=params or load(item.preset, ROOT)) for item in rows}
    found = []
    for item in rows:
        grid, job = grids[item.preset], Job(item.track, item.dataset, item.method)
        now, then = grid.asked_params(item.stage, job, item.protocol.source), grid.asked_params_then(item.stage, job)
        made = {"params_hash": then if old else now}
        made |= {"base": grid.track(item.track).base_method(item.method)}
        made |= {"code_hash": grid.asked_code(item.stage, job, None if old else item.protocol.source)} if code else {}
        found.append(item.model_copy(update=made))
    return found


def parameters(**changes: object) -> dict[str, Any]:
    """The content of the repository's params.yaml with changes, ``__`` for the dots of a key path."""
    content = read_yaml(ROOT / "params.yaml")
    for name, value in changes.items():
        *path, key = name.split("__")
        section = content
        for part in path:
            section = section[part]
        section[key] = value
    return content


def verdicts(rate: float, n: int = 500, seed: int = 0) -> np.ndarray:
    """(n,) bool, correct where a difficulty that all rates share is low: higher rates win on nested examples."""
    difficulty = np.random.default_rng(0).permutation(n) / n
    noise = np.random.default_rng(seed + 1).normal(0, 0.02, n)
    return difficulty + noise < rate
