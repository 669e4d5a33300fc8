"""DVC's stages, one per stage and track: what each reads, asks Snakemake for, and leaves.

Derived from the table of stages. ``dvc.yaml`` is rendered from it (``pipeline/dvc_file.py``), and ``contrastbench run
STEP`` makes one step through Snakemake. A test holds it against the Snakefile's own list of jobs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import STAGES, TRAINING, WITH_ROWS, Stage

EVALUATION_KEYS = tuple(
    dict.fromkeys(
        [
            *("transfer", "ablation", "cost", "search", "seeds_together"),
            *(name for stage in WITH_ROWS for name in stage.sections),
        ]
    )
)
# Sections from which only what the grid's methods use counts: one entry per method or variant.
PER_METHOD_KEYS = ("settings", "variants")
GRID_KEYS = ("datasets", "methods", "seeds")


@dataclass(frozen=True)
class PipelineStep:
    """One stage of ``dvc.yaml``.

    rules    Snakemake's rules that make the outputs
    files    what Snakemake is asked for
    code     what DVC sees of the code: file name of a fingerprint -> what it is over -> its digits
    inputs   files and folders that the step reads
    folders  what DVC keeps in its cache; ``tracked`` is what git keeps; ``metrics`` is what ``dvc metrics`` shows, and
             ``plots`` the one of ``tracked`` that ``dvc plots`` draws
    keys     dotted keys of params.yaml
    """

    name: str
    rules: tuple[str, ...]
    files: tuple[Path, ...]
    code: dict[Path, dict[str, str]]
    inputs: tuple[Path, ...]
    keys: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    tracked: tuple[Path, ...] = ()
    metrics: tuple[Path, ...] = ()
    plots: tuple[Path, ...] = ()


def steps(grid: Grid) -> list[PipelineStep]:
    """All steps of a preset, in an order in which each follows what it reads."""
    found = [_prepare(grid)]
    for track in grid.params.tracks:
        found += [_spectrograms(grid, track), *(_stage(grid, track, STAGES[name]) for name in TRAINING)]
        judging = [_stage(grid, track, stage) for stage in (STAGES["features"], *WITH_ROWS)]
        found += [*judging, _figures(grid, track), _tables(grid, track, [step for step in judging if step.tracked])]
    found = [step for step in found if step.files]
    return [*found, _report(grid, found)]


def step(grid: Grid, name: str) -> PipelineStep:
    """The step called ``name``; an unknown one is a UserError."""
    known = {step.name: step for step in steps(grid)}
    if name not in known:
        raise UserError(f"unknown step {name!r}; known: {', '.join(known)}")
    return known[name]


def _prepare(grid: Grid) -> PipelineStep:
    folders = tuple(grid.layout.prepared(name) for name in grid.datasets())
    code = {name: grid.prepare_code(name) for name in grid.datasets()}
    return PipelineStep(
        "prepare",
        rules=("prepare",),
        files=tuple(folder / "meta.json" for folder in folders),
        code={grid.layout.fingerprint("prepare"): code},
        inputs=(),
        keys=("data", "datasets", *(f"{track}.datasets" for track in grid.params.tracks)),
        folders=folders,
    )


def _spectrograms(grid: Grid, track: str) -> PipelineStep:
    names = grid.spectrogram_datasets(track)
    folders = tuple(grid.layout.spectrograms(track, name) for name in names)
    path = grid.layout.fingerprint(f"spectrograms-{track}")
    return PipelineStep(
        f"spectrograms-{track}",
        rules=("spectrograms",),
        files=tuple(folder / "meta.json" for folder in folders),
        code={path: {"spectrograms": fingerprint("spectrograms")}},
        inputs=tuple(grid.layout.prepared(name) for name in names),
        keys=tuple(f"{track}.{key}" for key in (*GRID_KEYS, "front_end")),
        folders=folders,
    )


def _stage(grid: Grid, track: str, stage: Stage) -> PipelineStep:
    """The step of a stage whose jobs are those of methods."""
    jobs = grid.jobs(stage.name, track)
    files = [path for job in jobs for path in grid.outputs(stage.name, job)]
    inputs = [kept(path) for job in jobs for path in grid.inputs(stage.name, job)]
    rows = [path for path in files if path.suffix == ".jsonl"]
    if stage.rows:
        keys = ["data", *training_keys(grid, track), *(f"{track}.{name}" for name in _shaping(stage))]
        codes = [*(name for name in TRAINING if grid.jobs(name, track)), *stage.code]
    else:
        keys = training_keys(grid, track) if stage.name in TRAINING else [f"{track}.{key}" for key in GRID_KEYS]
        codes = [stage.name]
    code = {grid.layout.fingerprint(f"{name}-{track}"): _codes(grid, name, track) for name in codes}
    if grid.is_sound(track) and (stage.rows or stage.name in TRAINING):  # their rows and records name it
        code |= _spectrograms(grid, track).code
    return PipelineStep(
        f"{stage.name}-{track}",
        rules=(grid.rule(stage, track),),
        files=tuple(rows or files),
        code=code,
        inputs=tuple(dict.fromkeys(inputs)),
        keys=tuple(dict.fromkeys(keys)),
        folders=tuple(dict.fromkeys(kept(path) for path in files if path not in rows)),
        tracked=tuple(dict.fromkeys(kept(path) for path in rows)),
    )


def _shaping(stage: Stage) -> Iterable[str]:
    return (*stage.sections, "transfer") if stage.pairs == "transfer" else stage.sections


def _codes(grid: Grid, stage: str, track: str) -> dict[str, str]:
    """The code of a stage for each method, as a file of fingerprints lists it."""
    methods = [job.method for job in grid.jobs(stage, track)] if stage in TRAINING else grid.labels(track)
    jobs = [Job(track, grid.track(track).datasets[0], method) for method in dict.fromkeys(methods)]
    return {job.method: grid.code(stage, job) for job in jobs}


def kept(path: Path) -> Path:
    """The folder that DVC or git keeps for a file: of a data set, or of a method on one with all its seeds."""
    is_of_seed = path.name != "meta.json" and path.suffix not in (".jsonl", ".png")
    return path.parents[1] if is_of_seed else path.parent


def _figures(grid: Grid, track: str) -> PipelineStep:
    section = grid.track(track)
    seed = section.seeds[0]
    named = [(dataset, name) for dataset in section.datasets for name in grid.figure_jobs(track, dataset, seed)]
    inputs = [path for dataset, name in named for path in grid.figure_inputs(track, dataset, name, seed)]
    files = grid.figures(track)
    return PipelineStep(
        f"figures-{track}",
        rules=("figures",),
        files=tuple(files),
        code={grid.layout.fingerprint(f"figures-{track}"): _codes(grid, "figures", track)},
        inputs=tuple(dict.fromkeys(kept(path) for path in inputs)),
        keys=(track,),
        folders=tuple(dict.fromkeys(kept(file) for file in files)),
    )


def _tables(grid: Grid, track: str, judging: list[PipelineStep]) -> PipelineStep:
    """Which rows count depends on all that shapes a row."""
    files = grid.tables(track)
    code = {grid.layout.fingerprint("tables"): {"tables": fingerprint("tables")}}
    return PipelineStep(
        f"tables-{track}",
        rules=("tables",),
        files=tuple(files),
        code=code | {path: lines for step in judging for path, lines in step.code.items()},
        inputs=tuple(folder for step in judging for folder in step.tracked),
        keys=("data", track),
        tracked=tuple(files),
        metrics=(grid.layout.metrics(track),),
        plots=tuple(path for path in files if path.suffix == ".csv"),
    )


def _report(grid: Grid, before: list[PipelineStep]) -> PipelineStep:
    shown = [step for step in before if not step.name.startswith(("prepare", "spectrograms-", "features-"))]
    return PipelineStep(
        "report",
        rules=("report",),
        files=(grid.layout.report,),
        code={grid.layout.fingerprint("report"): {"report": fingerprint("report")}},
        inputs=tuple(path for step in shown for path in (*step.folders, *step.tracked, *step.metrics)),
        keys=tuple(type(grid.params).model_fields),
        folders=(grid.layout.report,),
    )


def training_keys(grid: Grid, track: str) -> list[str]:
    """Keys of params.yaml that training a track's methods reads."""
    section = grid.track(track)
    whole = [key for key in type(section).model_fields if key not in (*EVALUATION_KEYS, *PER_METHOD_KEYS)]
    encoders = dict.fromkeys(job.method for name in TRAINING for job in grid.jobs(name, track))
    settings = dict.fromkeys(section.base_method(label).replace("-", "_") for label in encoders)
    keys = [*whole, *(f"settings.{name}" for name in settings if name in section.settings.model_fields_set)]
    keys += [f"variants.{label}" for label in encoders if label in section.variants]
    return [f"{track}.{key}" for key in keys]
