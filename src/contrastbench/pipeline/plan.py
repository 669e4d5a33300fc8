"""Before a run: which jobs there are, what is done already, and what the rest will cost."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from contrastbench.datasets import adapter
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.base import params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.root import presets
from contrastbench.pipeline.calibration import calibration_s
from contrastbench.pipeline.estimate import Estimate, Measured, Task, comparable, estimate
from contrastbench.pipeline.grid import OTHER_TARGETS, TARGETS, Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.reference import reference
from contrastbench.pipeline.resources import assumed_shape, cost_of
from contrastbench.pipeline.runs import benchmarks
from contrastbench.pipeline.stages import STAGES, TRAINING, Scope, Stage
from contrastbench.pipeline.tools import call
from contrastbench.registry import METHODS
from contrastbench.results.load import ALL

UNTRAINED = "untrained"  # in place of an encoder: what is not trained takes no longer for a large one


@dataclass(frozen=True)
class Planned:
    """One job: what it costs if it has to run (None: nothing to go by) and what it left on disk before, in bytes."""

    stage: str
    name: str
    done: bool
    cost: Estimate | None
    size: int | None


@dataclass(frozen=True)
class Plan:
    """All jobs of a target of a preset, and the archives that must be downloaded (name, bytes or None).

    data_bytes  what the data sets take that are yet to be prepared, as far as is known
    slower      how many times as long as on the machine of the reference a step of training takes here; None where
                no estimate rests on it
    """

    preset: str
    jobs: list[Planned]
    downloads: list[tuple[str, int | None]]
    data_bytes: int = 0
    slower: float | None = None

    def stages(self) -> list[str]:
        """Stages, those that others read from first, tables last."""
        place = {stage: index for index, stage in enumerate(STAGES)}
        return sorted(dict.fromkeys(job.stage for job in self.jobs), key=place.__getitem__)

    def pending(self, stage: str | None = None) -> list[Planned]:
        """Jobs that have to run."""
        return [job for job in self.jobs if not job.done and stage in (None, job.stage)]


def make_plan(preset: str, root: Path = Path(), target: str | None = None) -> Plan:
    """Ask Snakemake what is to be done for a ``target``, its default one if None, and estimate it.

    Estimates come from every preset's measured jobs; those of a stage that this machine has run for no such track, or
    with far less work, from the shipped ones of another machine.
    """
    grid = Grid(preset, root)
    known = {(task.stage, task.name): task for task in tasks(grid, root)}
    owners = job_of_files(grid)
    measured = list(measured_in(root))
    slower: float | None = None
    jobs = []
    for (stage, name), done in _job_states(preset, owners, target).items():
        task = known.get((stage, name), Task(stage, name, "", "", "", "", None))
        near = comparable(task, measured)
        cost = None if done else estimate(task, near or measured)
        if not done and not near:
            elsewhere = estimate(task, reference().jobs)
            if elsewhere is not None:
                slower = slower or calibration_s() / reference().calibration_s
                cost = elsewhere.on_another(slower)
        jobs.append(Planned(stage, name, done, cost, None if done else _size(task, root)))
    unprepared = [name for name in grid.datasets() if not (root / grid.layout.prepared(name) / "meta.json").is_file()]
    data_bytes = sum(reference().data_bytes.get(name, 0) for name in unprepared)
    return Plan(preset, jobs, _downloads(grid, root), data_bytes, slower)


def _stages_and_jobs(grid: Grid) -> Iterator[tuple[Stage, Job]]:
    """Every job of the grid, those of all targets, as they are run."""
    for track in grid.params.tracks:
        for stage in STAGES.values():
            if stage.leaves or stage.rows:
                jobs = [grid.run_as(stage.name, job) for t in TARGETS for job in grid.jobs(stage.name, track, t)]
                yield from ((stage, job) for job in dict.fromkeys(jobs))


def tasks(grid: Grid, root: Path) -> Iterator[Task]:
    """Every job of the grid in terms of what decides its cost."""
    for stage, job in _stages_and_jobs(grid):
        params = grid.pretrain_params(job) if job.method != ALL else None
        count, *size = _shape(grid, job, root)
        encoder = _hash(getattr(params, "encoder", None))
        computes = params is not None and (stage.name in TRAINING or "weights" in stage.reads)
        forward = cost_of(getattr(params, "encoder", None), size)[0] if computes else None
        name = str(job.folder)
        seeds = 1 if stage.scope is Scope.METHODS else len(grid.members(stage.name, job))
        if stage.name in TRAINING and params is not None and not _trains(params):
            yield Task(stage.name, name, job.track, job.dataset, job.method, UNTRAINED, float(seeds), float(seeds))
            continue
        if stage.name in TRAINING and params is not None:
            epochs = float(sum(phase.epochs for phase in params.phases()))
            limit = params.phases()[0].max_examples
            epochs *= seeds
            seen = epochs * (count if limit is None else min(count, limit))
            yield Task(stage.name, name, job.track, job.dataset, job.method, encoder, seen, epochs, forward)
            continue
        suite = [_hash(getattr(grid.track(job.track), section)) for section in stage.sections]
        setting = "-".join([encoder, *(suite if "robustness" in stage.sections else [])])
        yield Task(stage.name, name, job.track, job.dataset, job.method, setting, count * seeds, seeds, forward)


def _trains(params: PretrainParams) -> bool:
    return METHODS[params.method].trains and getattr(params, "checkpoint", None) is None


def _hash(section: object) -> str:
    return params_hash(section) if section is not None else ""  # type: ignore[arg-type]


def _shape(grid: Grid, job: Job, root: Path) -> tuple[int, ...]:
    """Of the training examples, (N, ...): of the prepared data, else as known from elsewhere, else a guess."""
    name = job.trained.dataset
    known = prepared_shape(root / grid.data_folder(job.track, name)) or reference().shapes.get(name)
    return known or assumed_shape(grid, name)


def prepared_shape(folder: Path) -> tuple[int, ...] | None:
    """(N, height, width) of a prepared training split; None where there is none that can be read."""
    try:
        data = open_prepared(folder)
        return data.meta.splits["train"].count, *map(int, data.x("train").shape[1:3])
    except (UserError, OSError, KeyError):
        return None


def measured_in(root: Path) -> Iterator[Measured]:
    """Every job that Snakemake measured in the project ``root``."""
    for preset in presets(root):
        timed = benchmarks(root, preset)
        if timed.empty:
            continue
        try:
            known = {(task.stage, task.name): task for task in tasks(Grid(preset, root), root)}
        except UserError:  # a preset that cannot be read says nothing about the past
            continue
        for line in timed.itertuples():
            task = known.get((str(line.stage), str(line.job)))
            if task is not None:
                peak = float(line.peak_mb)  # type: ignore[arg-type]
                size = bytes_in(root / "runs" / preset / task.stage / task.name)
                yield Measured(task, float(line.seconds), peak if peak == peak else 0.0, size)  # type: ignore[arg-type]


def job_of_files(grid: Grid) -> dict[str, tuple[str, str]]:
    """(stage, name of the job) that leaves each file of a preset."""
    owners = {
        str(path): (stage.name, str(job.folder))
        for stage, job in _stages_and_jobs(grid)
        for path in grid.outputs(stage.name, job)
    }
    for name in grid.datasets():
        owners[str(grid.layout.prepared(name) / "meta.json")] = ("prepare", name)
    for track in grid.params.tracks:
        for name in grid.spectrogram_datasets(track):
            owners[str(grid.layout.spectrograms(track, name) / "meta.json")] = ("spectrograms", f"{track}/{name}")
        owners |= {str(path): ("figures", str(path.with_suffix(""))) for path in grid.figures(track)}
        owners |= {str(path): ("tables", track) for path in (*grid.tables(track), grid.layout.metrics(track))}
        owners |= {str(path): ("tables", f"{track}-{t}") for t in OTHER_TARGETS for path in grid.tables(track, t)}
    return owners | {str(grid.layout.report): ("report", "report")}


def _job_states(
    preset: str, owners: dict[str, tuple[str, str]], target: str | None = None
) -> dict[tuple[str, str], bool]:
    """(stage, job) -> whether all its files are there and up to date, as Snakemake sees it."""
    answer = call("snakemake", *([target] if target else []), "--summary", "--config", f"preset={preset}", quiet=True)
    lines = [line.split("\t") for line in answer.stdout.splitlines()]
    if answer.returncode != 0 or not lines:
        told = [line for line in answer.stderr.splitlines() if line.strip()]
        raise UserError(f"snakemake --summary failed: {told[-1] if told else answer.returncode}")
    header = lines[0]
    states: dict[tuple[str, str], bool] = {}
    for line in lines[1:]:
        entry = dict(zip(header, line, strict=False))
        job = owners.get(entry["output_file"])
        if job is not None:
            states[job] = states.get(job, True) and entry["plan"] == "no update"
    return states


def _size(task: Task, root: Path) -> int | None:
    """Bytes that the same stage of the same track left for some job of any preset, the largest of them."""
    if not task.track:
        return None
    folders = (root / "runs").glob(f"*/{task.stage}/{task.track}/*/*/*")
    elsewhere = (job.size for job in reference().jobs if (job.task.stage, job.task.track) == (task.stage, task.track))
    return max(map(bytes_in, folders), default=max(elsewhere, default=None))


def bytes_in(folder: Path) -> int:
    """What the files below a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _downloads(grid: Grid, root: Path) -> list[tuple[str, int | None]]:
    found = []
    for name in grid.datasets():
        if (root / grid.layout.prepared(name) / "meta.json").is_file():
            continue
        for archive in () if name in grid.params.datasets else adapter(name).archives:
            if not (root / grid.layout.raw(name) / archive.name).is_file():
                found.append((archive.name, archive.size))
    return found


def plan_file(preset: str, root: Path = Path()) -> Path:
    """Where the last estimate of a preset is kept, for the report to compare with what came."""
    return root / "runs" / preset / "plan.json"


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class _Kept:
    """One job's estimate and its range, as the file holds it."""

    stage: str
    job: str
    seconds: Seconds
    low: Seconds
    high: Seconds


def keep_plan(plan: Plan, root: Path = Path()) -> None:
    """Keep the estimates of the jobs that have to run."""
    jobs = [
        asdict(_Kept(job.stage, job.name, job.cost.seconds, job.cost.low, job.cost.high))
        for job in plan.pending()
        if job.cost is not None
    ]
    if jobs:
        write_text(plan_file(plan.preset, root), json.dumps(jobs, indent=1) + "\n")


def plan_against_actual(preset: str, root: Path = Path()) -> list[tuple[str, str, str]]:
    """(stage, estimate, actual) of the jobs of the last plan that have run since; empty without a readable plan."""
    try:
        planned = TypeAdapter(list[_Kept]).validate_json(plan_file(preset, root).read_bytes())
    except (OSError, ValueError):  # none, or a damaged one: an estimate is no result
        return []
    timed = benchmarks(root, preset)
    took = {(str(line.stage), str(line.job)): float(line.seconds) for line in timed.itertuples()}  # type: ignore[arg-type]
    groups: dict[str, list[tuple[_Kept, float]]] = {}
    for job in planned:
        actual = took.get((job.stage, job.job))
        if actual is not None:
            groups.setdefault(job.stage, []).append((job, actual))
    return [
        (
            f"{stage} ({len(group)} jobs)",
            f"{_total(group, 'seconds'):.0f} s ({_total(group, 'low'):.0f} to {_total(group, 'high'):.0f})",
            f"{sum(actual for _, actual in group):.0f} s",
        )
        for stage, group in groups.items()
    ]


def _total(group: list[tuple[_Kept, float]], key: Literal["seconds", "low", "high"]) -> float:
    return sum(getattr(job, key) for job, _ in group)
