"""The steps of the pipeline, one per stage and track: what each reads, asks Snakemake for, and leaves.

``dvc.yaml`` is rendered from this table (``pipeline/dvc_file.py``), and ``contrastbench run STEP`` makes one step
through Snakemake. A test holds it against the Snakefile's own list of jobs.
"""

from dataclasses import dataclass
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.pipeline.audio_grid import JUDGING_STAGES
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER

# Sections of a track that training does not read.
EVALUATION_KEYS = (
    "probe",
    "transfer",
    "robustness",
    "few_shot",
    "low_shot",
    "audio_attack",
    "ablation",
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
    folders  what DVC keeps in its cache; ``tracked`` is what git keeps; ``metrics`` is what ``dvc metrics`` shows, and
             ``plots`` the one of ``tracked`` that ``dvc plots`` draws
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
    plots: tuple[Path, ...] = ()


def steps(grid: Grid) -> list[Step]:
    """All steps of a preset, in an order in which each follows what it reads."""
    found = [_prepare(grid)]
    for track in grid.params.tracks:
        found += _TrackSteps(grid, track).all()
    return [step for step in [*found, _report(grid, found)] if step.files]


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


def _report(grid: Grid, before: list[Step]) -> Step:
    shown = [step for step in before if not step.name.startswith(("prepare", "spectrograms-", "features-"))]
    return Step(
        "report",
        rules=("report",),
        files=(grid.report(),),
        inputs=(
            grid.layout.fingerprint("report"),
            *(path for step in shown for path in (*step.folders, *step.tracked, *step.metrics)),
        ),
        keys=tuple(type(grid.params).model_fields),
        folders=(grid.report(),),
    )


class _TrackSteps:
    """The steps of one track."""

    def __init__(self, grid: Grid, track: str) -> None:
        self.grid, self.track, self.layout = grid, track, grid.layout
        self.jobs = grid.jobs(track)
        self.data = tuple(dict.fromkeys(grid.data_folder(job) for job in self.jobs))
        self.trained = tuple(dict.fromkeys(path.parent.parent for job in self.jobs for path in grid.weights(job)))
        self.features = self._folders(self.layout.stage("features", track))

    def all(self) -> list[Step]:
        """Every step that the track has, in order."""
        found = [self.pretrain(), self.extract_features(), self.probe()]
        if self.grid.audio_datasets(self.track):
            found = [self.spectrograms(), found[0], self.tune(), *found[1:], *self.shots()]
        if self.grid.transfers(self.track):
            found.append(self.transfer_probe())
        if self.grid.robustness(self.track):
            found += [self.attack(), self.transfer_attack()]
        found.append(self.figures())
        return [*found, self.tables([step for step in found if step.tracked])]

    def spectrograms(self) -> Step:
        names = self.grid.audio_datasets(self.track)
        folders = tuple(self.layout.spectrograms(name) for name in names)
        return Step(
            f"spectrograms-{self.track}",
            rules=("spectrograms",),
            files=tuple(folder / "meta.json" for folder in folders),
            inputs=(self._code("spectrograms"), *(self.layout.prepared(name) for name in names)),
            keys=self._keys("front_end"),
            folders=folders,
        )

    def pretrain(self) -> Step:
        return self._training("pretrain", self.data)

    def tune(self) -> Step:
        starts = [path for job in self._trained_by("tune") for path in self.grid.weights(self.grid.tuned_from(job))]
        return self._training("tune", (*self.data, *dict.fromkeys(path.parent.parent for path in starts)))

    def _training(self, stage: str, inputs: tuple[Path, ...]) -> Step:
        files = [path for job in self._trained_by(stage) for path in self.grid.weights(job)]
        return Step(
            f"{stage}-{self.track}",
            rules=(stage,),
            files=tuple(files),
            inputs=(self._code(stage), *inputs),
            keys=training_keys(self.grid, self.track),
            folders=tuple(dict.fromkeys(path.parent.parent for path in files)),
        )

    def _trained_by(self, stage: str) -> list[Job]:
        with_encoder = [job for job in self.jobs if job.method not in WITHOUT_ENCODER]
        return [job for job in with_encoder if self.grid.training_stage(job) == stage]

    def shots(self) -> list[Step]:
        """The steps ``few_shot``, ``low_shot`` and ``audio_attack``."""
        found = []
        for stage in JUDGING_STAGES:
            pairs = self.grid.judged_pairs(stage, self.track)
            rows = [row for pair in pairs for job in self.jobs for row in self.grid.judged_rows(pair, job)]
            data = dict.fromkeys(folder for pair in pairs for folder in self.grid.judged_data(pair))
            step = Step(
                f"{stage}-{self.track}",
                rules=tuple(pair.rule for pair in pairs),
                files=tuple(rows),
                inputs=(*self._codes(stage), *data, *self.trained, *self.features),
                keys=self._row_keys(stage),
                tracked=_method_folders(rows),
            )
            found.append(step)
        return found

    def extract_features(self) -> Step:
        return Step(
            f"features-{self.track}",
            rules=(f"features_{self.track}",),
            files=tuple(self.layout.run("features", job) / "features.npz" for job in self.jobs),
            inputs=(self._code("features"), *self.data, *self.trained),
            keys=self._keys(),
            folders=self.features,
        )

    def probe(self) -> Step:
        return Step(
            f"probe-{self.track}",
            rules=(f"probe_{self.track}",),
            files=tuple(row for job in self.jobs for row in self.grid.rows_of(job)),
            inputs=(*self._codes("probe"), *self.data, *self.features),
            keys=self._row_keys("probe"),
            tracked=self._folders(self.layout.rows_of("probe", self.track)),
        )

    def transfer_probe(self) -> Step:
        pairs = self.grid.transfers(self.track)
        rows = self.grid.transfer_rows(self.track)
        prepared = dict.fromkeys(self.layout.prepared(name) for pair in pairs for name in (pair.train, pair.probe))
        return Step(
            f"transfer_probe-{self.track}",
            rules=tuple(f"transfer_probe_{self.track}_{pair.train}_{pair.probe}" for pair in pairs),
            files=tuple(rows),
            inputs=(*self._codes("transfer_probe"), *prepared, *self.trained),
            keys=self._row_keys("probe", "transfer"),
            tracked=_method_folders(rows),
        )

    def attack(self) -> Step:
        jobs = [job for job in self.jobs if job.method not in WITHOUT_ENCODER]
        rows = [row for job in jobs for row in self.grid.attack_rows(job)]
        return Step(
            f"attack-{self.track}",
            rules=tuple(dict.fromkeys(self.grid.attack_rule(job) for job in jobs)),
            files=tuple(rows),
            inputs=(*self._codes("attack"), *self.data, *self.trained, *self.features),
            keys=self._row_keys("robustness"),
            folders=self._attacked(),
            tracked=_method_folders(rows),
        )

    def transfer_attack(self) -> Step:
        section = self.grid.track(self.track)
        rows = [
            row
            for dataset in section.datasets
            for seed in section.seeds
            for row in self.grid.transfer_attack_rows(self.track, dataset, seed)
        ]
        return Step(
            f"transfer_attack-{self.track}",
            rules=tuple(self.grid.transfer_attack_rule(self.track, dataset) for dataset in section.datasets),
            files=tuple(rows),
            inputs=(*self._codes("transfer_attack"), *self.data, *self.trained, *self._attacked()),
            keys=self._row_keys("robustness"),
            tracked=_method_folders(rows),
        )

    def figures(self) -> Step:
        section, files = self.grid.track(self.track), self.grid.figure_files(self.track)
        inputs = [path for name in section.datasets for path in self._figure_inputs(name, section.seeds[0])]
        suite = self.grid.robustness(self.track)
        return Step(
            f"figures-{self.track}",
            rules=(f"figures_{self.track}",),
            files=tuple(files),
            inputs=(self._code("figures"), *dict.fromkeys(inputs)),
            keys=self._keys(*(("robustness",) if suite else ("pretraining", "settings.uamix_mae"))),
            folders=tuple(dict.fromkeys(file.parent for file in files)),
        )

    def _figure_inputs(self, dataset: str, seed: int) -> list[Path]:
        """Folders that other steps leave: of data sets, and of the methods that are shown."""
        paths = self.grid.figure_inputs(self.track, dataset, seed)
        return [path.parent if path.name == "meta.json" else path.parent.parent for path in paths]

    def tables(self, judging: list[Step]) -> Step:
        """Which rows are shown hangs on all that shapes a row: those of dropped seeds or methods still lie there."""
        shaping = [key for step in judging for key in step.keys]
        return Step(
            f"tables-{self.track}",
            rules=(f"tables_{self.track}",),
            files=tuple(self.grid.tables(self.track)),
            inputs=(self.layout.fingerprint("tables"), *(folder for step in judging for folder in step.tracked)),
            keys=tuple(dict.fromkeys([f"{self.track}.methods", f"{self.track}.ablation", *shaping])),
            tracked=tuple(self.grid.tables(self.track)),
            metrics=(self.grid.metrics(self.track),),
            plots=tuple(path for path in self.grid.tables(self.track) if path.suffix == ".csv"),
        )

    def _code(self, stage: str) -> Path:
        return self.layout.fingerprint(f"{stage}-{self.track}")

    def _codes(self, stage: str) -> tuple[Path, ...]:
        """The code that a row of ``stage`` names. Training's is not seen in its outputs alone: they may be equal."""
        before = ["pretrain", *(["tune"] if self._trained_by("tune") else []), "features"]
        return tuple(self._code(name) for name in (stage, *before))

    def _row_keys(self, *sections: str) -> tuple[str, ...]:
        """The parameters that a row names: of training, and the sections that its stage reads."""
        keys = [*training_keys(self.grid, self.track), *(f"{self.track}.{name}" for name in sections)]
        return tuple(dict.fromkeys(keys))

    def _keys(self, *sections: str) -> tuple[str, ...]:
        return tuple(f"{self.track}.{key}" for key in (*GRID_KEYS, *sections))

    def _folders(self, root: Path) -> tuple[Path, ...]:
        """One folder a data set and method, so that ablations beside them are nobody's outputs."""
        return tuple(dict.fromkeys(root / job.dataset / job.method for job in self.jobs))

    def _attacked(self) -> tuple[Path, ...]:
        files = [file for job in self.jobs for file in self.grid.attack_files(job)]
        return tuple(dict.fromkeys(file.parent.parent for file in files))


def _method_folders(rows: list[Path]) -> tuple[Path, ...]:
    """``.../DATASET/METHOD`` of rows that lie in ``.../DATASET/METHOD/PROTOCOL/SEED.json``."""
    return tuple(dict.fromkeys(row.parent.parent for row in rows))


def training_keys(grid: Grid, track: str) -> tuple[str, ...]:
    """Keys of params.yaml that training a track's methods reads."""
    section = grid.track(track)
    whole = [key for key in type(section).model_fields if key not in (*EVALUATION_KEYS, *PER_METHOD_KEYS)]
    encoders = [label for label in section.methods if label not in WITHOUT_ENCODER]
    settings = dict.fromkeys(section.base_method(label).replace("-", "_") for label in encoders)
    keys = [*whole, *(f"settings.{name}" for name in settings if name in section.settings.model_fields_set)]
    keys += [f"variants.{label}" for label in encoders if label in section.variants]
    return tuple(f"{track}.{key}" for key in keys)
