"""The steps of the pipeline, one per stage and track: what each reads, asks Snakemake for, and leaves.

``dvc.yaml`` is rendered from this table (``pipeline/dvc_file.py``), and ``contrastbench run STEP`` makes one step
through Snakemake. A test holds it against the Snakefile's own list of jobs.
"""

from dataclasses import dataclass
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Grid
from contrastbench.registry import WITHOUT_ENCODER

# Sections of a track that training does not read.
EVALUATION_KEYS = (
    "probe",
    "transfer",
    "robustness",
    "few_shot",
    "low_shot",
    "ablation",
    "ablation_seeds",
)
# Sections from which only what the grid's methods use counts: one entry per method or variant.
PER_METHOD_KEYS = ("settings", "variants")
GRID_KEYS = ("datasets", "methods", "seeds")


@dataclass(frozen=True)
class Step:
    """One stage of ``dvc.yaml``.

    rules    Snakemake's rules that make the outputs
    files    what Snakemake is asked for
    inputs   files and folders that the step reads
    folders  what DVC keeps in its cache; ``tracked`` is what git keeps; ``metrics`` is what ``dvc metrics`` shows
    keys     dotted keys of params.yaml
    """

    name: str
    rules: tuple[str, ...]
    files: tuple[Path, ...]
    inputs: tuple[Path, ...]
    keys: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    tracked: tuple[Path, ...] = ()
    metrics: tuple[Path, ...] = ()


def steps(grid: Grid) -> list[Step]:
    """All steps of a preset, in an order in which each follows what it reads."""
    found = [_prepare(grid)]
    for track in grid.params.tracks:
        found += _track_steps(grid, track)
    return [step for step in found if step.files]


def step(grid: Grid, name: str) -> Step:
    """The step called ``name``; an unknown one is a UserError."""
    known = {step.name: step for step in steps(grid)}
    if name not in known:
        raise UserError(f"unknown step {name!r}; known: {', '.join(known)}")
    return known[name]


def _prepare(grid: Grid) -> Step:
    folders = tuple(grid.layout.prepared(name) for name in grid.datasets())
    return Step(
        "prepare",
        rules=("prepare",),
        files=tuple(folder / "meta.json" for folder in folders),
        inputs=(grid.layout.fingerprint("prepare"),),
        keys=("data", *(f"{track}.datasets" for track in grid.params.tracks)),
        folders=folders,
    )


def _track_steps(grid: Grid, track: str) -> list[Step]:
    layout = grid.layout
    jobs = grid.jobs(track)
    data = tuple(dict.fromkeys(grid.data_folder(job) for job in jobs))
    common = tuple(f"{track}.{key}" for key in GRID_KEYS)

    def code(stage: str) -> Path:
        return layout.fingerprint(f"{stage}-{track}")

    def folders(root: Path) -> tuple[Path, ...]:
        """One folder a data set and method, so that ablations beside them are nobody's outputs."""
        return tuple(dict.fromkeys(root / job.dataset / job.method for job in jobs))

    trained = tuple(dict.fromkeys(path.parent.parent for job in jobs for path in grid.weights(job)))
    features = folders(layout.stage("features", track))
    found = [
        Step(
            f"pretrain-{track}",
            rules=("pretrain",),
            files=tuple(path for job in jobs for path in grid.weights(job)),
            inputs=(code("pretrain"), *data),
            keys=training_keys(grid, track),
            folders=trained,
        ),
        Step(
            f"features-{track}",
            rules=("features",),
            files=tuple(layout.run("features", job) / "features.npz" for job in jobs),
            inputs=(code("features"), *data, *trained),
            keys=common,
            folders=features,
        ),
        Step(
            f"probe-{track}",
            rules=(f"probe_{track}",),
            files=tuple(row for job in jobs for row in grid.rows_of(job)),
            inputs=(code("probe"), *data, *features),
            keys=(*common, f"{track}.probe"),
            tracked=folders(layout.rows_of("probe", track)),
        ),
    ]
    if grid.transfers(track):
        pairs = grid.transfers(track)
        rows = tuple(grid.transfer_rows(track))
        prepared = dict.fromkeys(layout.prepared(name) for pair in pairs for name in (pair.train, pair.probe))
        found.append(
            Step(
                f"transfer_probe-{track}",
                rules=tuple(f"transfer_probe_{track}_{pair.train}_{pair.probe}" for pair in pairs),
                files=rows,
                inputs=(code("transfer_probe"), *prepared, *trained),
                keys=(*common, f"{track}.probe", f"{track}.transfer"),
                tracked=tuple(dict.fromkeys(row.parent.parent for row in rows)),
            )
        )
    found.append(
        Step(
            f"tables-{track}",
            rules=(f"tables_{track}",),
            files=tuple(grid.tables(track)),
            inputs=(layout.fingerprint("tables"), *(folder for each in found for folder in each.tracked)),
            keys=(f"{track}.methods", f"{track}.ablation"),
            tracked=tuple(grid.tables(track)),
            metrics=(grid.metrics(track),),
        )
    )
    return found


def training_keys(grid: Grid, track: str) -> tuple[str, ...]:
    """Keys of params.yaml that training a track's methods reads."""
    section = grid.track(track)
    whole = [key for key in type(section).model_fields if key not in (*EVALUATION_KEYS, *PER_METHOD_KEYS)]
    encoders = [label for label in section.methods if label not in WITHOUT_ENCODER]
    settings = dict.fromkeys(section.base_method(label).replace("-", "_") for label in encoders)
    known = type(getattr(section, "settings")).model_fields  # noqa: B009  (each track declares its own)
    keys = [*whole, *(f"settings.{name}" for name in settings if name in known)]
    keys += [f"variants.{label}" for label in encoders if label in section.variants]
    return tuple(f"{track}.{key}" for key in keys)
