"""The jobs of one preset, their parameters and code, and what training and probing them needs and leaves."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.params.base import Section, params_hash
from contrastbench.params.evaluation import PretrainParams
from contrastbench.params.root import DEFAULT, Params, Track, load
from contrastbench.params.track import MOST_SEEDS
from contrastbench.params.unremix import Transfer, UnReMixTrack
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.imported import by_contents
from contrastbench.pipeline.layout import Job, Layout
from contrastbench.registry import (
    TUNED_FROM,
    WITHOUT_ENCODER,
    dataset_module,
    method_module,
    modality_module,
)


@dataclass
class JobGrid:
    """Jobs, sections and fingerprints of one preset, read from the project folder ``root``."""

    preset: str = DEFAULT
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
            for seed in section.seeds
        ]

    def over_seeds(self, track: str, dataset: str, method: str) -> list[Job]:
        """The jobs of one method on one data set, by seed: what one job of a judging stage takes at once."""
        return [Job(track, dataset, method, seed) for seed in self.track(track).seeds]

    def job(self, track: str, dataset: str, method: str, seed: int) -> Job:
        """The job of these wildcards; a data set or method that the track does not know is a UserError."""
        job = Job(track, dataset, method, seed)
        dataset_module(dataset)
        self.pretrain_params(job)
        if not 0 <= seed < MOST_SEEDS:
            raise UserError(f"seed {seed}: must be 0 or more, and less than {MOST_SEEDS}")
        return job

    def data_folder(self, job: Job) -> Path:
        """The arrays that this job trains on and is judged on."""
        layout = self.layout
        return layout.spectrograms(job.dataset) if job.track == "uamix" else layout.prepared(job.dataset)

    def pretrain_params(self, job: Job) -> PretrainParams | None:
        """What training this job reads; None for a reference row without an encoder.

        In place of an imported checkpoint's path there is the hash of its contents.
        """
        if job.method in WITHOUT_ENCODER:
            return None
        params = self.track(job.track).pretrain(job.method, job.dataset)
        start = self.tuned_from(job) if self.training_stage(job) == "tune" else job
        return by_contents(params, self.root / self.layout.run("pretrain", start))

    def code(self, stage: str, job: Job) -> str:
        """Fingerprint of a stage's code for this job, its method's and its modality's among it."""
        kind = modality_module(self.track(job.track).modality)
        params = self.pretrain_params(job)
        return fingerprint(stage, kind, *([method_module(params.method)] if params else []))

    def state(self, stage: str, job: Job, *sections: Section | None) -> str:
        """What makes a stage's output stale: its code for this job and the sections that it reads."""
        return "-".join([self.code(stage, job), *(params_hash(section) for section in sections if section)])

    def row_state(self, stage: str, job: Job, *sections: Section | None) -> str:
        """Like :meth:`state` for a stage that writes rows, which also name how the encoder came about.

        Its weights or features alone do not tell: they may be equal where parameters or code are not.
        """
        before = [*self.training_code(job), self.code("features", job)]
        return "-".join([*before, self.state(stage, job, self.pretrain_params(job), *sections)])

    def data_state(self, dataset: str) -> str:
        """What makes prepared data stale: the code that reads this data set, and the split parameters."""
        return f"{fingerprint('prepare', dataset_module(dataset))}-{params_hash(self.params.data)}"

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
        """Fingerprints of the stages that led to a job's encoder.

        Of sound the front end too: the data_hash says what spectrograms were made from, and not by what code.
        """
        made = [fingerprint("spectrograms")] if self.track(job.track).modality == "audio" else []
        if self.training_stage(job) == "pretrain":
            return [*made, self.code("pretrain", job)]
        return [*made, self.code("pretrain", self.tuned_from(job)), self.code("tune", job)]

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

    def row_files(self, stage: str, job: Job, protocols: list[str]) -> list[Path]:
        """The rows that ``stage`` leaves for ``job``."""
        folder = self.layout.rows / self.preset / stage / job.track / job.dataset / job.method
        return [folder / protocol / f"{job.seed}.json" for protocol in protocols]

    def rows_of(self, job: Job) -> list[Path]:
        """Every row of one job."""
        return self.row_files("probe", job, self.probe_protocols(job.track))


def rule_name(*parts: str) -> str:
    """Letters, digits and underscores, as Snakemake wants them."""
    return "_".join(parts).replace("-", "_")
