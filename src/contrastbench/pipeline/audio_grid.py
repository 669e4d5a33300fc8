"""Spectrograms, and what encoders of sound are judged on with few labels."""

from dataclasses import dataclass
from pathlib import Path

from contrastbench.params.base import params_hash
from contrastbench.params.uamix import UaMixTrack
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.job_grid import JobGrid, rule_name
from contrastbench.pipeline.layout import Job

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
        return rule_name(self.stage, self.trained, self.judged)


class AudioGrid(JobGrid):
    """The jobs of the stages ``spectrograms``, ``few_shot`` and ``low_shot``."""

    def audio_datasets(self, track: str) -> list[str]:
        """Every data set of which a track needs spectrograms."""
        if not isinstance(self.track(track), UaMixTrack):
            return []
        pairs = [pair for stage in SHOT_STAGES for pair in self.judged_pairs(stage, track)]
        return list(dict.fromkeys([*self.track(track).datasets, *(pair.judged for pair in pairs)]))

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
