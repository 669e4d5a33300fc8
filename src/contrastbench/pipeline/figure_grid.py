"""Still figures: which there are, and what they are drawn from."""

from pathlib import Path

from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.base import params_hash
from contrastbench.pipeline.attack_grid import AttackGrid
from contrastbench.pipeline.layout import Job


class FigureGrid(AttackGrid):
    """The jobs of the stage ``figures``."""

    def figure_jobs(self, track: str, dataset: str, seed: int) -> dict[str, list[Job]]:
        """The still images of one data set and seed, by name, each with the jobs that it shows; in the preset only.

        ``reconstructions`` of an autoencoder that the preset trains (an imported encoder comes without a decoder),
        ``mixtures`` as uaMix-MAE makes them, ``adversarial-examples`` on the first attacked method and on SwARo.
        """
        section, found = self.track(track), {}
        jobs = {job.method: job for job in self.jobs(track) if (job.dataset, job.seed) == (dataset, seed)}
        if isinstance(section, AudioTrack):
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
