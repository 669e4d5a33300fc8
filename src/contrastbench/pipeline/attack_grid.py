"""What the robustness suite attacks, and which files and rows that needs and leaves."""

from pathlib import Path

from contrastbench.params.robustness import RobustnessParams
from contrastbench.pipeline.job_grid import JobGrid, rule_name
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER


class AttackGrid(JobGrid):
    """The jobs of the stages ``attack`` and ``transfer_attack``."""

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
        return rule_name("attack", job.track, job.dataset, job.method)

    def transfer_attack_rule(self, track: str, dataset: str) -> str:
        """Snakemake's name of the rule of one transfer matrix."""
        return rule_name("transfer_attack", track, dataset)

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
        """What makes a transfer matrix stale besides its inputs: the suite, and how every classifier came about."""
        jobs, suite = self.attacked_jobs(track, dataset, seed), self.robustness(track)
        return "-".join(self.row_state("transfer_attack", job, suite) for job in jobs)

    def attack_targets(self, track: str) -> list[Path]:
        """Every row of the robustness suite of a track; none for a track without one."""
        section, rows = self.track(track), []
        for dataset in section.datasets:
            for seed in section.seeds:
                rows += [row for job in self.attacked_jobs(track, dataset, seed) for row in self.attack_rows(job)]
                rows += self.transfer_attack_rows(track, dataset, seed)
        return rows
