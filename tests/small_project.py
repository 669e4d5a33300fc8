"""A project folder of a test's own: the repository's parameters, and a preset that is small and runs in seconds."""

import shutil
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import yaml
from conftest import REPOSITORY

from contrastbench.datasets.store import Prepared, open_prepared
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.base import overlay, read_yaml
from contrastbench.params.data import DataParams
from contrastbench.params.root import load
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.results.load import rows_at
from contrastbench.results.revisions import WORKTREE
from contrastbench.results.rows import Row, write_rows

PRESET = "small"
# Training of images that learns digits in a second, for tests whose assertions are about what was learnt.
LEARNS_DIGITS = {
    "datasets": ["digits"],
    "seeds": [0],
    "encoder": {"width": 8, "stem_stride": 1},
    "projector": {"hidden": 128, "output": 64},
    "augment": {"blur_probability": 0.5},
    "training": {
        "epochs": 8,
        "batch_size": 128,
        "learning_rate": 3e-3,
        "warmup_epochs": 1.0,
        "checkpoint_every_steps": 100,
        "log_every_steps": 14,
    },
    "ablation": [],
}


def small_grid(folder: Path, changes: dict | None = None, preset: str = PRESET) -> Grid:
    """Write ``params.yaml`` and, as ``preset``, the preset smoke with ``changes`` made; the grid of it.

    Stages find their files from the working directory: a test that runs one must be in ``folder``.
    """
    shutil.copy(REPOSITORY / "params.yaml", folder)
    (folder / "presets").mkdir(exist_ok=True)
    content = overlay(read_yaml(REPOSITORY / "presets/smoke.yaml"), changes or {})
    (folder / f"presets/{preset}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Grid(preset, folder)


def run(grid: Grid, stage: str, job: Job, runtime: Runtime | None = None) -> list[Row] | None:
    """What the stage returns for the job."""
    return getattr(import_module(f"contrastbench.stages.{stage}"), stage)(grid, job, runtime or Runtime())


def prepared_data(folder: Path, name: str, validation_fraction: float, mirror: Path | None = None) -> Prepared:
    """What the stage ``prepare`` makes of a data set in the project ``folder``."""
    params = load(root=REPOSITORY)
    data = DataParams(validation_fraction=validation_fraction)
    grid = Grid(given=params.model_copy(update={"data": data}))
    with chdir(folder):
        run(grid, "prepare", Job("", name), Runtime(mirror=mirror))
    return open_prepared(folder / grid.layout.prepared(name))


def judged(grid: Grid, stage: str, job: Job) -> dict[str, Row]:
    """The rows of a job by the names of their protocols, written into the job's file and read back."""
    path, rows = grid.layout.rows(stage, job), run(grid, stage, job)
    assert rows
    write_rows(path, rows)
    loaded = rows_at(WORKTREE, str(path.parent))
    assert not loaded.problems
    found = [each.row for each in loaded.stored if each.path == str(path)]
    named = {row.protocol.name: row for row in found}
    assert len(found) == len(named) == len(rows)
    return named
