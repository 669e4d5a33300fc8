"""The experiment grid of one preset: which jobs there are, what they read and leave, and what makes them stale.

Snakefile, DVC's steps and the command line all ask it, so that they cannot disagree. No torch in here.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from contrastbench.datasets.locate import contents_state
from contrastbench.errors import UserError
from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.base import Section, params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.own_attacks import own_attacks
from contrastbench.params.root import DEFAULT, Params
from contrastbench.params.track import TrackParams
from contrastbench.params.values import MOST_SEEDS
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.imported import by_contents
from contrastbench.pipeline.layout import ALL_SEEDS, Job, Layout
from contrastbench.pipeline.resolved import resolved
from contrastbench.pipeline.stages import OF_SEEDS, STAGES, TRAINING, WITH_ROWS, Scope, Stage
from contrastbench.registry import (
    ATTACKS,
    KERNELS,
    METHODS,
    WITHOUT_ENCODER,
    contrasts,
    dataset_module,
    method_module,
    modality_module,
    starts_from,
)
from contrastbench.results.load import ALL

ENDINGS = ("md", "csv", "tex")
# What may be asked of a track: the list of labels in its section that is run, or the trials of its search. ``methods``
# is the default target's.
Target = Literal["methods", "ablation", "cost", "search"]
TARGETS: tuple[Target, ...] = get_args(Target)
OTHER_TARGETS = TARGETS[1:]  # each with tables of its own


def targets_of(stage: Stage) -> tuple[Target, ...]:
    """The targets that ask for the rows of a stage."""
    if stage.measure:
        return ("search",)
    if stage.scope is Scope.METHODS:
        return ("methods",)
    return ("methods", "ablation", "cost") if stage.name == "attack" else ("methods", "ablation")


@dataclass
class Grid:
    """The jobs of one preset.

    ``given`` are its parameters where they are not those of the project folder ``root``, or of the run around us.
    """

    preset: str = DEFAULT
    root: Path = field(default_factory=Path)
    given: Params | None = None
    _states: dict[tuple[str, Job], str] = field(default_factory=dict, repr=False)

    @cached_property
    def params(self) -> Params:
        """The resolved parameters."""
        return self.given or resolved(self.preset, self.root)

    @cached_property
    def layout(self) -> Layout:
        """Where the files of this preset lie."""
        return Layout(self.preset)

    def track(self, name: str) -> TrackParams:
        """The parameters of one track."""
        return self.params.track(name)

    # Jobs

    def has(self, stage: Stage, track: str) -> bool:
        """Whether a track has a stage: all sections that it goes by, and data to run it on."""
        section = self.track(track)
        if stage.name == "transfer_attack" and section.robustness and not section.robustness.images.transfer:
            return False
        if stage.name == "diagnostics" and section.diagnostics:
            return section.diagnostics.encoder in section.methods
        return bool(stage.data(section))

    def labels(self, track: str, target: Target = "methods") -> list[str]:
        """The methods and variants that a track's target runs."""
        section = self.track(track)
        return section.trials() if target == "search" else list(getattr(section, target))

    def seeds(self, track: str, target: Target = "methods") -> tuple[int, ...]:
        """The seeds that a track's target runs them with."""
        section = self.track(track)
        if target == "search":
            assert section.search is not None, f"{track} has trials"
            return (section.search.seed,)
        return section.seeds

    def jobs(self, stage_name: str, track: str, target: Target = "methods") -> list[Job]:
        """The jobs of a stage that a track's target asks for."""
        stage, section = STAGES[stage_name], self.track(track)
        if track not in self.params.tracks or not self.has(stage, track):
            return []
        if stage.rows and target not in targets_of(stage):
            return []
        datasets = stage.data(section)
        labels = self.labels(track, target)
        if stage.name in TRAINING:
            labels = self._with_starts(track, labels)
        labels = [label for label in labels if self._takes(stage, track, label)]
        if stage.scope is Scope.METHODS:
            return [Job(track, name, ALL, seed) for name in datasets for seed in section.seeds if labels]
        seeds = (ALL_SEEDS,) if stage.scope is Scope.SEEDS or not labels else self.seeds(track, target)
        return [Job(track, name, label, seed) for name in datasets for label in labels for seed in seeds]

    def _with_starts(self, track: str, labels: list[str]) -> list[str]:
        """``labels``, each behind the encoder whose weights it starts from, which may not be listed itself."""
        trained = [label for label in labels if label not in WITHOUT_ENCODER]
        starts = ((self.track(track).start_of(label), label) for label in trained)
        return list(dict.fromkeys(name for pair in starts for name in pair if name))

    def _takes(self, stage: Stage, track: str, label: str) -> bool:
        if label in KERNELS:
            return stage.name == "cross_validate"
        if label in WITHOUT_ENCODER:
            return not stage.encoder
        if not stage.variants and label not in self.track(track).methods:
            return False
        if stage.contrasts and not contrasts(self.track(track).base_method(label)):
            return False
        return stage.name not in TRAINING or self.training_stage(Job(track, "", label)) == stage.name

    def members(self, stage_name: str, job: Job) -> list[Job]:
        """The single (method, seed) jobs that one job of a stage takes."""
        stage, section = STAGES[stage_name], self.track(job.track)
        if stage.scope is Scope.SEEDS or stage.name in OF_SEEDS:
            return [replace(job, seed=seed) for seed in section.seeds] if job.seed == ALL_SEEDS else [job]
        if stage.scope is Scope.METHODS:
            return [replace(job, method=label) for label in section.methods if label not in WITHOUT_ENCODER]
        return [job]

    def takes_seeds(self, stage_name: str, track: str) -> bool:
        """Whether one job of a stage that is otherwise a seed's makes the files of all seeds of a track."""
        return stage_name in OF_SEEDS and self.track(track).seeds_together

    def run_as(self, stage_name: str, job: Job) -> Job:
        """The job that is run to make the files of a ``job``: that of all seeds, where those are together."""
        together = self.takes_seeds(stage_name, job.track) and job.seed in self.track(job.track).seeds
        return replace(job, seed=ALL_SEEDS) if together else job

    def rule(self, stage: Stage, track: str) -> str:
        """Snakemake's rule for a stage's jobs on a track."""
        return f"{stage.name}_{track}" if self.takes_seeds(stage.name, track) else stage.rule

    def job(self, stage_name: str, track: str, dataset: str, method: str = ALL, seed: int | None = None) -> Job:
        """The job of these arguments of a command; what the parameters do not know is a UserError."""
        if seed is not None and not 0 <= seed < MOST_SEEDS:
            raise UserError(f"seed {seed}: must be 0 or more, and less than {MOST_SEEDS}")
        job = Job(track, dataset, method, ALL_SEEDS if seed is None else seed)
        stage, section = STAGES[stage_name], self.track(track)
        for name in (job.trained.dataset, job.judged):
            self.reader(name)
        for name in stage.sections:
            if getattr(section, name, None) is None:
                raise UserError(f"track {track!r} has no section `{name}`, which {stage.command} needs")
        if stage.unless and getattr(section, stage.unless, None) is not None:
            others = ", ".join(each.command for each in WITH_ROWS if self.has(each, track))
            raise UserError(f"track {track!r} has a section `{stage.unless}`, and so not {stage.command}, but {others}")
        if method != ALL:
            self.pretrain_params(job)
            if method in WITHOUT_ENCODER and stage.encoder:
                raise UserError(f"{method}: a reference row without an encoder; {stage.command} needs one")
            if method in KERNELS and not self._takes(stage, track, method):
                raise UserError(f"{method}: a kernel between graphs, without features; cross-validate judges it")
        known = stage.data(section)
        is_pair = job.dataset != job.trained.dataset
        if is_pair and not stage.takes_pairs:
            raise UserError(f"{dataset}: {stage.command} takes one data set")
        if dataset not in known and (is_pair or stage.pairs == "transfer"):  # on its own data that is a probe
            others = ", ".join(known) or "none"
            raise UserError(f"{dataset}: not among the pairs of {track}.{stage.pairs}; known: {others}")
        return job

    # What a job reads and leaves

    def is_sound(self, track: str) -> bool:
        """Whether a track's encoders see spectrograms, which a stage of its own makes of prepared sound."""
        return self.track(track).modality == "audio"

    def sound(self, track: str) -> AudioTrack:
        """The parameters of a track of sound; another track is a UserError."""
        section = self.track(track)
        if not isinstance(section, AudioTrack):
            raise UserError(f"track {track!r} sees no spectrograms")
        return section

    def data_folder(self, track: str, dataset: str) -> Path:
        """The arrays that a track's encoders see of a data set."""
        layout = self.layout
        return layout.spectrograms(track, dataset) if self.is_sound(track) else layout.prepared(dataset)

    def inputs(self, stage_name: str, job: Job) -> list[Path]:
        """The files that a job reads."""
        stage = STAGES[stage_name]
        found = [
            path for each in self.members(stage_name, job) for kind in stage.reads for path in self._files(kind, each)
        ]
        return list(dict.fromkeys(found))

    def _files(self, kind: str, job: Job) -> list[Path]:
        trained, without = job.trained, job.method in WITHOUT_ENCODER
        if kind == "data":
            return [self.data_folder(job.track, trained.dataset) / "meta.json"]
        if kind == "judged data":
            return [self.data_folder(job.track, job.judged) / "meta.json"]
        if kind == "judged sound":
            return [self.layout.prepared(job.judged) / "meta.json"]
        if kind == "features" and job.method in KERNELS:
            return []
        if kind == "features":
            return [self.layout.run("features", trained) / "features.safetensors"]
        if kind == "classifiers":
            return [self.layout.run("attack", trained) / "classifiers.safetensors"]
        if without:
            return []
        if kind == "history":
            return [self.trained(trained) / "history.csv"]
        if kind == "common weights":
            return self._files("weights", self.common_encoder(job))
        folder = self.trained(self.tuned_from(trained) if kind == "start" else trained)
        return [folder / "model.safetensors", folder / "run.json"]

    def outputs(self, stage_name: str, job: Job) -> list[Path]:
        """The files that a job leaves."""
        stage = STAGES[stage_name]
        rows = [self.layout.rows(stage_name, job)] if stage.rows else []
        members = self.members(stage_name, job)
        return [*(self.layout.run(stage_name, each) / name for each in members for name in stage.leaves), *rows]

    # Training

    def pretrain_params(self, job: Job) -> PretrainParams | None:
        """What training this job's encoder reads; None for a reference row without one.

        In place of an imported checkpoint's path there is the hash of its contents.
        """
        if job.method in WITHOUT_ENCODER:
            return None
        params = self.track(job.track).pretrain(job.method, job.trained.dataset)
        start = self.tuned_from(job) if self.training_stage(job) == "tune" else job
        seed = self.track(job.track).seeds[0] if job.seed == ALL_SEEDS else job.seed  # all import the same
        return by_contents(params, self.root / self.layout.run("pretrain", replace(start.trained, seed=seed)))

    def training_stage(self, job: Job) -> str:
        """The stage that trains a job's encoder last: ``pretrain`` or ``tune``."""
        return "tune" if starts_from(self.track(job.track).base_method(job.method)) else "pretrain"

    def trained(self, job: Job) -> Path:
        """The folder of a job's trained encoder."""
        return self.layout.run(self.training_stage(job), job.trained)

    def tuned_from(self, job: Job) -> Job:
        """The job whose weights a tuned method starts from: the same data set and seed."""
        start = self.track(job.track).start_of(job.method)
        assert start is not None, f"{job.method} is trained from scratch"
        return replace(job, method=start)

    def common_encoder(self, job: Job) -> Job:
        """The job whose trained encoder all methods' negatives are ranked on: the same data set and seed."""
        section = self.track(job.track)
        assert section.diagnostics is not None, f"{job.track} has diagnostics"
        return replace(job, method=section.diagnostics.encoder)

    # What a result depends on

    def code(self, stage_name: str, job: Job) -> str:
        """Fingerprint of a stage's code for this job's modality and method."""
        section = self.track(job.track)
        method = section.base_method(job.method)
        if method not in METHODS:
            looked_up = [modality_module(section.modality)]
        else:
            looked_up = [modality_module(section.modality_of(job.method)), method_module(method)]
        if stage_name == "own_attack":
            looked_up += [ATTACKS[name].module for name in own_attacks(section.own_attacks)]
        return fingerprint(stage_name, *looked_up)

    def training_code(self, job: Job) -> list[str]:
        """Fingerprints of the stages that led to a job's encoder.

        Of sound also those of its spectrograms: their hash says what they were made from, and not by what code.
        """
        made = [fingerprint("spectrograms")] if self.is_sound(job.track) else []
        if job.method in WITHOUT_ENCODER:
            return made
        if self.training_stage(job) == "pretrain":
            return [*made, self.code("pretrain", job)]
        return [*made, self.code("pretrain", self.tuned_from(job)), self.code("tune", job)]

    def history_state(self, job: Job) -> list[str]:
        """What a training's history depends on, and neither its weights nor a row: the learning curve, if any."""
        every = self.track(job.track).curve.every_epochs
        return [f"curve {every}"] if every else []

    def sections(self, stage_name: str, job: Job) -> list[Section]:
        """The parameters that a row of ``stage`` depends on: of the data, of training, and the stage's own."""
        pretrain = self.pretrain_params(job)
        own = [getattr(self.track(job.track), name) for name in STAGES[stage_name].sections]
        narrowed = [section.on(job.trained.dataset, job.judged) for section in own]
        return [self.params.data, *([pretrain] if pretrain else []), *narrowed]

    def asked_params(self, stage_name: str, job: Job, source: str | None = None) -> str:
        """The hash of parameters that a row must name to count; ``source`` is a transferred attack's."""
        hashes = [params_hash(section) for section in self.sections(stage_name, job)]
        if source is not None and source != job.method:
            made_against = self.pretrain_params(replace(job, method=source))
            hashes += [params_hash(made_against)] if made_against else []
        return joined(hashes)

    def asked_params_then(self, stage_name: str, job: Job) -> str:
        """The same for a row of schema 1, which named fewer parameters, and a stage's whole sections."""
        pretrain = self.pretrain_params(job)
        own = [getattr(self.track(job.track), name) for name in STAGES[stage_name].sections]
        return joined(params_hash(section) for section in [*([pretrain] if pretrain else []), *own])

    def asked_code(self, stage_name: str, job: Job, source: str | None = None) -> str:
        """The hash of code that a row names when it is made now; ``source`` is a transferred attack's."""
        codes = [*self.training_code(job), *(self.code(name, job) for name in STAGES[stage_name].code)]
        if source is not None and source != job.method:
            other = replace(job, method=source)
            codes += [*self.training_code(other), *(self.code(name, other) for name in STAGES[stage_name].code)]
        return joined(codes)

    def state(self, stage_name: str, job: Job) -> str:
        """What makes a job's outputs stale besides its inputs: its code, and the parameters that it reads.

        Of a stage that writes rows also those of training, because rows name them: weights and features may be equal
        where parameters or code are not.
        """
        if (stage_name, job) not in self._states:
            self._states[stage_name, job] = self._state(STAGES[stage_name], job)
        return self._states[stage_name, job]

    def _state(self, stage: Stage, job: Job) -> str:
        members = [replace(each, seed=ALL_SEEDS) for each in self.members(stage.name, job)]
        parts = [f"seeds {self.track(job.track).seeds}"] if stage.scope is Scope.SEEDS else []
        for each in dict.fromkeys(members):
            if stage.rows:
                source = self.common_encoder(each).method if "common weights" in stage.reads else None
                parts += [self.asked_params(stage.name, each, source), self.asked_code(stage.name, each, source)]
            elif stage.name in TRAINING:  # what its record must name
                pretrain = self.pretrain_params(each)
                parts += [*self.training_code(each), *([params_hash(pretrain)] if pretrain else [])]
                parts += self.history_state(each)
            else:
                parts += [self.code(stage.name, each)]
        return joined(parts)

    def reader(self, dataset: str) -> str:
        """Dotted name of the module that reads a data set, declared by the parameters or registered; else UserError."""
        declared = self.params.datasets.get(dataset)
        return dataset_module(dataset) if declared is None else declared.module

    def prepare_code(self, dataset: str) -> str:
        """Fingerprint of the code that prepares a data set."""
        return fingerprint("prepare", self.reader(dataset))

    def prepare_state(self, dataset: str) -> str:
        """What makes prepared data stale: the code that reads this data set, and the split parameters.

        Of a declared one also its declaration, and which files lie in its folder.
        """
        parts = [self.prepare_code(dataset), params_hash(self.params.data)]
        declared = self.params.datasets.get(dataset)
        if declared is not None:
            parts += [params_hash(declared), contents_state(declared, self.root, self.layout.prepared(dataset))]
        return joined(parts)

    def spectrogram_state(self, track: str) -> str:
        """What makes spectrograms stale besides the sound: the code and the front end's parameters."""
        return joined([fingerprint("spectrograms"), params_hash(self.sound(track).front_end)])

    # Data

    def spectrogram_datasets(self, track: str) -> list[str]:
        """Every data set of which a track needs spectrograms."""
        return self.datasets(track) if self.is_sound(track) else []

    def datasets(self, track: str | None = None) -> list[str]:
        """Every data set that a track, or the preset, trains or judges on."""
        names = []
        for name in self.params.tracks if track is None else [track]:
            for stage in (STAGES["features"], *WITH_ROWS):
                names += [part for each in stage.data(self.track(name)) for part in _parts(each)]
        return list(dict.fromkeys(names))

    # Figures, tables, report

    def figure_jobs(self, track: str, dataset: str, seed: int) -> dict[str, list[Job]]:
        """The still images of one data set and seed, by name, each with the jobs that it shows; in the preset only.

        ``reconstructions`` of an autoencoder that the preset trains (an imported encoder comes without a decoder),
        ``mixtures`` as uaMix-MAE makes them, ``adversarial-examples`` on the first attacked method and on SwARo, a few
        graphs and their ``views``.
        """
        section, found = self.track(track), {}
        if track not in self.params.tracks or dataset not in section.datasets or seed not in section.seeds:
            return {}
        jobs = {label: Job(track, dataset, label, seed) for label in section.methods}
        if self.is_sound(track):
            if "mae" in jobs and self.sound(track).pretraining.checkpoint is None:
                found["reconstructions"] = [jobs["mae"]]
            if "uamix-mae" in jobs:
                found["mixtures"] = [jobs["uamix-mae"]]
        if section.modality == "graph":
            found["views"] = list(jobs.values())[:1]  # of the data alone: no method makes a difference
        attacked = [job for label, job in jobs.items() if label not in WITHOUT_ENCODER]
        if self.has(STAGES["attack"], track) and attacked:
            ours = [job for job in attacked if job.method == "swaro"]
            others = [job for job in attacked if job.method != "swaro"]
            found["adversarial-examples"] = [*others[:1], *ours]
        return found

    def figure(self, track: str, dataset: str, name: str, seed: int) -> Path:
        """Where a still image lies."""
        return self.layout.run("figures", Job(track, dataset, name, seed)).with_suffix(".png")

    def figures(self, track: str) -> list[Path]:
        """Every still image that the default target asks for: those of a track's first seed."""
        section = self.track(track)
        seed = section.seeds[0]
        return [
            self.figure(track, dataset, name, seed)
            for dataset in section.datasets
            for name in self.figure_jobs(track, dataset, seed)
        ]

    def figure_inputs(self, track: str, dataset: str, name: str, seed: int) -> list[Path]:
        """What one still image is drawn from: its data, weights and classifiers."""
        kinds = {"mixtures": ("data",), "views": ("data",), "reconstructions": ("data", "weights")}.get(
            name, STAGES["figures"].reads
        )
        jobs = self.figure_jobs(track, dataset, seed).get(name, [])
        return list(dict.fromkeys(path for job in jobs for kind in kinds for path in self._files(kind, job)))

    def figure_state(self, track: str, dataset: str, name: str, seed: int) -> str:
        """What makes a still image stale besides its inputs: the code, and what is read from the parameters."""
        section, jobs = self.track(track), self.figure_jobs(track, dataset, seed).get(name, [])
        if isinstance(section, GraphTrack):
            return joined([*(self.code("figures", job) for job in jobs), params_hash(section.augment)])
        read: list[Section] = [section.settings_of(job.method) for job in jobs]
        if name == "adversarial-examples" and section.robustness:
            read = [section.robustness.on(dataset, dataset)]
        return joined([*(self.code("figures", job) for job in jobs), *map(params_hash, read)])

    def rows(self, track: str, target: Target = "methods") -> list[Path]:
        """Every file of rows that a track's target asks for."""
        jobs = [(stage.name, job) for stage in WITH_ROWS for job in self.jobs(stage.name, track, target)]
        return [self.layout.rows(name, job) for name, job in jobs]

    def tables_inputs(self, track: str, target: Target = "methods") -> list[Path]:
        """What the tables of a target wait for: its rows, and what those were made from.

        Committed tables and rows come with a clone and look finished. They are older than its first run, which makes
        the tables stale; and their data, weights and features are missing, which makes the rows so.
        """
        jobs = [(stage.name, job) for stage in WITH_ROWS for job in self.jobs(stage.name, track, target)]
        made_from = dict.fromkeys(path for name, job in jobs for path in self.inputs(name, job))
        return [self.layout.begun, *self.rows(track, target), *made_from]

    def tables(self, track: str, target: Target = "methods") -> list[Path]:
        """The rendered tables of a track's target; none where the preset does not run it."""
        if track not in self.params.tracks or not self.labels(track, target):
            return []
        return [self.layout.table(track if target == "methods" else f"{track}-{target}", ending) for ending in ENDINGS]

    def asked(self, track: str, targets: Iterable[Target] = TARGETS) -> str:
        """What a track's tables show, as one hash: which rows count, and what they must name to count unmarked."""
        parts = []
        for stage in WITH_ROWS:
            for target in targets:
                for job in self.jobs(stage.name, track, target):
                    parts += [stage.name, str(job.folder), self.state(stage.name, job)]
        return joined(parts)

    def tables_state(self, track: str, target: Target = "methods") -> str:
        """What makes a track's tables stale besides their rows: the code that renders them, and which rows count.

        Those of a search show trials alone, and no others show any: the values of trials take time to draw.
        """
        shown = [each for each in TARGETS if (each == "search") == (target == "search")]
        labels = [f"{each} {label}" for each in shown for label in self.labels(track, each)]
        return joined([fingerprint("tables"), *labels, self.asked(track, shown)])

    def report_state(self) -> str:
        """What makes the report stale besides what it shows: its code, the parameters that it names, the claims."""
        claims = self.root / "claims.yaml"
        told = [hashlib.sha256(claims.read_bytes()).hexdigest()] if claims.is_file() else []
        return joined([fingerprint("report"), params_hash(self.params), *told])

    def targets(self) -> list[Path]:
        """Every track's rows, tables and still images. A finished table alone would hide that rows are missing."""
        made = [(*self.rows(track), *self.tables(track), *self.figures(track)) for track in self.params.tracks]
        return [path for files in made for path in files]


def joined(hashes: Iterable[str]) -> str:
    """One hash of several, in this order; of a single one, itself."""
    parts = list(hashes)
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def _parts(dataset: str) -> list[str]:
    job = Job("", dataset)
    return [job.trained.dataset, job.judged]
