"""The experiment grid of one preset: which jobs there are, which files they need and leave.

Snakefile, DVC's stages and the command line all read it, so that they cannot disagree. No torch in here.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from contrastbench.datasets import dataset_module
from contrastbench.errors import UserError
from contrastbench.params.base import Section, params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.root import DEFAULT, Params, Track, load
from contrastbench.params.uamix import UaMixTrack
from contrastbench.params.unremix import Transfer, UnReMixTrack
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import TUNED_FROM, WITHOUT_ENCODER, method_module

SHOT_STAGES = ("few_shot", "low_shot")


@dataclass(frozen=True)
class Judged:
    """A stage that judges encoders trained on one data set on another, or on the same."""

    stage: str
    track: str
    trained: str
    judged: str
    protocols: tuple[str, ...]

    @property
    def label(self) -> str:
        """The data set's name in rows."""
        return self.trained if self.judged == self.trained else f"{self.trained}-to-{self.judged}"

    @property
    def rule(self) -> str:
        """Snakemake's name of the rule."""
        return _rule_name(self.stage, self.trained, self.judged)


@dataclass
class Grid:
    """Jobs, sections and fingerprints of one preset, read from the project folder ``root``."""

    preset: str = "default"
    root: Path = field(default_factory=Path)

    @cached_property
    def params(self) -> Params:
        """The resolved parameters."""
        return load(self.preset, self.root)

    @property
    def layout(self) -> Layout:
        """Where the files of this preset lie."""
        return Layout(self.preset)

    def track(self, name: str) -> Track:
        """The parameters of one track."""
        return self.params.track(name)

    def jobs(self, track: str) -> list[Job]:
        """All (data set, method, seed) of a track that the default target asks for, reference rows included."""
        if track not in self.params.tracks:
            return []
        section = self.track(track)
        return [
            Job(track, dataset, method, seed)
            for dataset in section.datasets
            for method in section.methods
            for seed in section.seeds
        ]

    def ablation_jobs(self, track: str) -> list[Job]:
        """All jobs of a track's ablation target."""
        section = self.track(track)
        return [
            Job(track, dataset, variant, seed)
            for dataset in section.datasets
            for variant in section.ablation
            for seed in section.ablation_seeds
        ]

    def job(self, track: str, dataset: str, method: str, seed: int) -> Job:
        """The job of these wildcards; a data set or method that the track does not know is a UserError."""
        job = Job(track, dataset, method, seed)
        dataset_module(dataset)
        self.pretrain_params(job)
        if seed < 0:
            raise UserError(f"seed {seed}: must be 0 or more")
        return job

    def datasets(self) -> list[str]:
        """Every data set that the preset trains or probes on."""
        names = [name for track in self.params.tracks for name in self.track(track).datasets]
        names += [
            name for track in self.params.tracks for pair in self.transfers(track) for name in (pair.train, pair.probe)
        ]
        names += [name for track in self.params.tracks for name in self.audio_datasets(track)]
        return list(dict.fromkeys(names))

    def audio_datasets(self, track: str) -> list[str]:
        """Every data set of which a track needs spectrograms."""
        if not isinstance(self.track(track), UaMixTrack):
            return []
        pairs = [pair for stage in SHOT_STAGES for pair in self.judged_pairs(stage, track)]
        return list(dict.fromkeys([*self.track(track).datasets, *(pair.judged for pair in pairs)]))

    def data_folder(self, job: Job) -> Path:
        """The arrays that this job trains on and is judged on."""
        layout = self.layout
        return layout.spectrograms(job.dataset) if job.track == "uamix" else layout.prepared(job.dataset)

    def pretrain_params(self, job: Job) -> PretrainParams | None:
        """What training this job reads; None for a reference row without an encoder."""
        if job.method in WITHOUT_ENCODER:
            return None
        return self.track(job.track).pretrain(job.method, job.dataset)

    def code(self, stage: str, job: Job) -> str:
        """Fingerprint of a stage's code for this job."""
        params = self.pretrain_params(job)
        return fingerprint(stage, *([method_module(params.method)] if params else []))

    def state(self, stage: str, job: Job, *sections: Section | None) -> str:
        """What makes a stage's output stale: its code for this job and the sections that it reads."""
        return "-".join([self.code(stage, job), *(params_hash(section) for section in sections if section)])

    def data_state(self, dataset: str) -> str:
        """What makes prepared data stale: the code that reads this data set, and the split parameters."""
        return f"{fingerprint('prepare', dataset_module(dataset))}-{params_hash(self.params.data)}"

    def tables_state(self, track: str) -> str:
        """What makes a track's tables stale besides their rows: the code that renders them, and the methods' order."""
        section = self.track(track)
        return "-".join([fingerprint("tables"), *section.methods, "ablation", *section.ablation])

    def report(self) -> Path:
        """The page that shows everything."""
        return Path("results") / ("report.html" if self.preset == DEFAULT else f"report-{self.preset}.html")

    def report_state(self) -> str:
        """What makes the report stale besides tables and still images: the code that draws it."""
        return fingerprint("report")

    def weights(self, job: Job) -> list[Path]:
        """The trained weights that this job's features come from; none for rows without an encoder."""
        if job.method in WITHOUT_ENCODER:
            return []
        return [self.trained(job) / "model.safetensors"]

    def training_stage(self, job: Job) -> str:
        """The stage that trains a job's encoder last: ``pretrain`` or ``tune``."""
        return "tune" if self.track(job.track).base_method(job.method) in TUNED_FROM else "pretrain"

    def trained(self, job: Job) -> Path:
        """The folder of a job's trained encoder."""
        return self.layout.run(self.training_stage(job), job)

    def tuned_from(self, job: Job) -> Job:
        """The job whose weights a tuned method starts from: the same data set and seed."""
        source = TUNED_FROM[self.track(job.track).base_method(job.method)]
        return Job(job.track, job.dataset, source, job.seed)

    def training_code(self, job: Job) -> list[str]:
        """Fingerprints of the stages that led to a job's encoder."""
        if self.training_stage(job) == "pretrain":
            return [self.code("pretrain", job)]
        return [self.code("pretrain", self.tuned_from(job)), self.code("tune", job)]

    def probe_protocols(self, track: str) -> list[str]:
        """Protocols of the stage ``probe``."""
        return ["linear", "knn", *(f"low-label-{shots}" for shots in self.track(track).probe.low_label_shots)]

    def transfers(self, track: str) -> list[Transfer]:
        """The pairs of data sets that a track probes transfer on."""
        section = self.track(track)
        return list(section.transfer) if isinstance(section, UnReMixTrack) else []

    def transfer(self, track: str, train: str, probe: str) -> Transfer:
        """One pair of data sets; one that the parameters do not name is a UserError."""
        for pair in self.transfers(track):
            if (pair.train, pair.probe) == (train, probe):
                return pair
        known = ", ".join(pair.label for pair in self.transfers(track)) or "none"
        raise UserError(f"transfer {train} to {probe}: not among {track}.transfer; known: {known}")

    def transfer_rows(self, track: str) -> list[Path]:
        """Every row of the stage ``transfer_probe`` for a track."""
        return [
            row
            for pair in self.transfers(track)
            for job in self.jobs(track)
            if job.dataset == pair.train and job.method not in WITHOUT_ENCODER
            for row in self.row_files(
                "transfer_probe", Job(track, pair.label, job.method, job.seed), self.probe_protocols(track)
            )
        ]

    def robustness(self, track: str) -> RobustnessParams | None:
        """The robustness suite of a track, where it has one."""
        return getattr(self.track(track), "robustness", None)

    def attacked_jobs(self, track: str, dataset: str, seed: int) -> list[Job]:
        """The jobs with an encoder that the suite attacks, and transfers attacks between, on one data set and seed."""
        if self.robustness(track) is None:
            return []
        return [
            job
            for job in self.jobs(track)
            if (job.dataset, job.seed) == (dataset, seed) and job.method not in WITHOUT_ENCODER
        ]

    def attack_patterns(self, track: str) -> list[Job]:
        """One job for each (data set, method or variant) that the suite can attack, its seed left open (0)."""
        if self.robustness(track) is None:
            return []
        section = self.track(track)
        labels = dict.fromkeys([*section.methods, *section.ablation])
        return [
            Job(track, dataset, label, 0)
            for dataset in section.datasets
            for label in labels
            if label not in WITHOUT_ENCODER
        ]

    def attack_heads(self, job: Job) -> tuple[str, ...]:
        """The classifiers that the stage ``attack`` fits on a job's encoder; the first is what transfer judges."""
        params = self.robustness(job.track)
        return params.heads_of(self.track(job.track).base_method(job.method)) if params else ()

    def attack_rule(self, job: Job) -> str:
        """Snakemake's name of the rule that attacks a job's method."""
        return _rule_name("attack", job.track, job.dataset, job.method)

    def transfer_attack_rule(self, track: str, dataset: str) -> str:
        """Snakemake's name of the rule of one transfer matrix."""
        return _rule_name("transfer_attack", track, dataset)

    def attack_files(self, job: Job) -> list[Path]:
        """What the stage ``attack`` leaves besides rows: every head's weights, and the verdict on every image."""
        folder = self.layout.run("attack", job)
        return [folder / f"{head}.{ending}" for head in self.attack_heads(job) for ending in ("safetensors", "npz")]

    def attack_protocols(self, job: Job) -> list[str]:
        """Protocols of the stage ``attack`` for one job."""
        params = self.robustness(job.track)
        return params.protocols(job.dataset, self.track(job.track).base_method(job.method)) if params else []

    def attack_rows(self, job: Job) -> list[Path]:
        """Every row of the stage ``attack`` for one job."""
        return self.row_files("attack", job, self.attack_protocols(job))

    def transfer_protocol(self, source: str, eps: float) -> str:
        """The protocol of one entry of the transfer matrix; the row's method is the target."""
        return f"transfer-from-{source}@{eps:.4g}"

    def transfer_attack_inputs(self, track: str, dataset: str, seed: int) -> list[Path]:
        """The classifiers of one transfer matrix, and what their encoders were trained to."""
        jobs = self.attacked_jobs(track, dataset, seed)
        return [path for job in jobs for path in (*self.weights(job), self.attack_files(job)[0])]

    def transfer_attack_rows(self, track: str, dataset: str, seed: int) -> list[Path]:
        """Every entry of the transfer matrix of one data set and seed; none where the suite leaves it out."""
        params = self.robustness(track)
        if params is None or not params.images.transfer:
            return []
        jobs, eps = self.attacked_jobs(track, dataset, seed), params.budget(dataset).main
        protocols = [self.transfer_protocol(job.method, eps) for job in jobs]
        return [row for job in jobs for row in self.row_files("transfer_attack", job, protocols)]

    def transfer_attack_state(self, track: str, dataset: str, seed: int) -> str:
        """What makes a transfer matrix stale besides its inputs: the suite, and the code for every method."""
        jobs = self.attacked_jobs(track, dataset, seed)
        codes = [self.code("transfer_attack", job) for job in jobs]
        params = self.robustness(track)
        return "-".join([*dict.fromkeys(codes), *([params_hash(params)] if params else [])])

    def attack_targets(self, track: str) -> list[Path]:
        """Every row of the robustness suite of a track; none for a track without one."""
        section, rows = self.track(track), []
        for dataset in section.datasets:
            for seed in section.seeds:
                rows += [row for job in self.attacked_jobs(track, dataset, seed) for row in self.attack_rows(job)]
                rows += self.transfer_attack_rows(track, dataset, seed)
        return rows

    def spectrogram_state(self) -> str:
        """What makes spectrograms stale besides the sound: the code and the front end's parameters."""
        return f"{fingerprint('spectrograms')}-{params_hash(self.params.uamix.front_end)}"

    def judged_pairs(self, stage: str, track: str) -> list[Judged]:
        """What ``few_shot`` or ``low_shot`` judges a track's encoders on; nothing for a track without the protocol."""
        section = self.track(track)
        if not isinstance(section, UaMixTrack):
            return []
        params = section.few_shot if stage == "few_shot" else section.low_shot
        protocols = tuple(params.protocols())
        return [
            Judged(stage, track, trained, judged, protocols)
            for trained in section.datasets
            for judged in params.datasets.get(trained, ())
        ]

    def judged_rows(self, pair: Judged, job: Job) -> list[Path]:
        """The rows of one job that :meth:`judged_pairs` asks for; none when it was trained on other data."""
        if job.dataset != pair.trained:
            return []
        return self.row_files(pair.stage, Job(job.track, pair.label, job.method, job.seed), list(pair.protocols))

    def shot_rows(self, job: Job) -> list[Path]:
        """Every few-shot and low-shot row of one job."""
        pairs = [pair for stage in SHOT_STAGES for pair in self.judged_pairs(stage, job.track)]
        return [row for pair in pairs for row in self.judged_rows(pair, job)]

    def figure_jobs(self, track: str, dataset: str, seed: int) -> dict[str, list[Job]]:
        """The still images of one data set and seed, by name, each with the jobs that it shows; in the preset only.

        ``reconstructions`` of an autoencoder that the preset trains (an imported encoder comes without a decoder),
        ``mixtures`` as uaMix-MAE makes them, ``adversarial-examples`` on the first attacked method and on SwARo.
        """
        section, found = self.track(track), {}
        jobs = {job.method: job for job in self.jobs(track) if (job.dataset, job.seed) == (dataset, seed)}
        if isinstance(section, UaMixTrack):
            if "mae" in jobs and section.pretraining.checkpoint is None:
                found["reconstructions"] = [jobs["mae"]]
            if "uamix-mae" in jobs:
                found["mixtures"] = [jobs["uamix-mae"]]
        attacked = self.attacked_jobs(track, dataset, seed)
        if attacked:
            ours = [job for job in attacked if job.method == "swaro"]
            others = [job for job in attacked if job.method != "swaro"]
            found["adversarial-examples"] = [*others[:1], *ours]
        return found

    def figure_file(self, name: str, job: Job) -> Path:
        """Where a still image lies; the report's gallery makes its title of the path."""
        return self.layout.stage("figures", job.track) / job.dataset / f"seed-{job.seed}" / f"{name}.png"

    def figure_files(self, track: str) -> list[Path]:
        """Every still image that the default target asks for: those of a track's first seed."""
        section = self.track(track)
        wanted = [self.figure_jobs(track, dataset, section.seeds[0]) for dataset in section.datasets]
        return [self.figure_file(name, jobs[0]) for figures in wanted for name, jobs in figures.items()]

    def figure_inputs(self, track: str, dataset: str, seed: int) -> list[Path]:
        """What the still images of one data set and seed are drawn from: its data, weights and classifiers."""
        wanted = self.figure_jobs(track, dataset, seed)
        shown = [job for jobs in wanted.values() for job in jobs]
        paths = [self.data_folder(job) / "meta.json" for job in shown]
        paths += [path for job in wanted.get("reconstructions", ()) for path in self.weights(job)]
        for job in wanted.get("adversarial-examples", ()):
            paths += [*self.weights(job), self.attack_files(job)[0]]
        return list(dict.fromkeys(paths))

    def figures_state(self, track: str, dataset: str, seed: int) -> str:
        """What makes still images stale besides their inputs: the code, and what is read from the parameters."""
        section, suite = self.track(track), self.robustness(track)
        shown = [job for jobs in self.figure_jobs(track, dataset, seed).values() for job in jobs]
        codes = [self.code("figures", job) for job in shown]
        read = [suite] if suite else [section.settings_of(job.method) for job in shown]
        return "-".join(dict.fromkeys([*codes, *map(params_hash, read)]))

    def row_files(self, stage: str, job: Job, protocols: list[str]) -> list[Path]:
        """The rows that ``stage`` leaves for ``job``."""
        folder = self.layout.rows / self.preset / stage / job.track / job.dataset / job.method
        return [folder / protocol / f"{job.seed}.json" for protocol in protocols]

    def rows_of(self, job: Job) -> list[Path]:
        """Every row of one job."""
        return self.row_files("probe", job, self.probe_protocols(job.track))

    def rows(self, track: str) -> list[Path]:
        """Every row of a track that the default target asks for."""
        probed = [row for job in self.jobs(track) for row in (*self.rows_of(job), *self.shot_rows(job))]
        return probed + self.transfer_rows(track) + self.attack_targets(track)

    def tables(self, track: str) -> list[Path]:
        """The rendered tables of a track."""
        return [self.layout.tables / f"{track}.{ending}" for ending in ("md", "csv", "tex")]

    def metrics(self, track: str) -> Path:
        """The means of a track, as `dvc metrics` reads them."""
        return self.layout.metrics / f"{track}.json"

    def targets(self) -> list[Path]:
        """Every track's rows, tables and still images. A finished table alone would hide that rows are missing."""
        made = [(*self.rows(track), *self.tables(track), *self.figure_files(track)) for track in self.params.tracks]
        return [path for files in made for path in files]

    def ablation_rows(self, track: str) -> list[Path]:
        """Every row of a track's ablation."""
        jobs = self.ablation_jobs(track)
        return [row for job in jobs for row in (*self.rows_of(job), *self.shot_rows(job), *self.attack_rows(job))]

    def ablation_tables(self, track: str) -> list[Path]:
        """The rendered tables of a track's ablation; none where the preset does not run the track."""
        if track not in self.params.tracks:
            return []
        return [self.layout.tables / f"{track}-ablation.{ending}" for ending in ("md", "csv", "tex")]


def _rule_name(*parts: str) -> str:
    """Letters, digits and underscores, as Snakemake wants them."""
    return "_".join(parts).replace("-", "_")
