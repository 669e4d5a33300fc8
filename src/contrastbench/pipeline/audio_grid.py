"""Spectrograms, and what encoders of sound are judged on: few labels, and attacks."""

from dataclasses import dataclass
from pathlib import Path

from contrastbench.params.audio_track import AudioTrack
from contrastbench.params.base import params_hash
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.job_grid import JobGrid, rule_name
from contrastbench.pipeline.layout import Job
from contrastbench.registry import WITHOUT_ENCODER

# Each reads the section of its name.
JUDGING_STAGES = ("few_shot", "low_shot", "audio_attack")


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
    """The jobs of the stages ``spectrograms``, ``few_shot``, ``low_shot`` and ``audio_attack``."""

    def audio_datasets(self, track: str) -> list[str]:
        """Every data set of which a track needs spectrograms."""
        if not isinstance(self.track(track), AudioTrack):
            return []
        pairs = self.all_judged_pairs(track)
        return list(dict.fromkeys([*self.track(track).datasets, *(pair.judged for pair in pairs)]))

    def spectrogram_state(self) -> str:
        """What makes spectrograms stale besides the sound: the code and the front end's parameters."""
        section = self.track("uamix")
        assert isinstance(section, AudioTrack)
        return f"{fingerprint('spectrograms')}-{params_hash(section.front_end)}"

    def judged_pairs(self, stage: str, track: str) -> list[Judged]:
        """What a judging stage judges a track's encoders on; nothing for a track without it."""
        section = self.track(track)
        if not isinstance(section, AudioTrack):
            return []
        params = getattr(section, stage)
        if params is None:
            return []
        protocols = tuple(params.protocols())
        return [
            Judged(stage, track, trained, judged, protocols)
            for trained in section.datasets
            for judged in params.datasets.get(trained, ())
        ]

    def all_judged_pairs(self, track: str) -> list[Judged]:
        """The pairs of every judging stage."""
        return [pair for stage in JUDGING_STAGES for pair in self.judged_pairs(stage, track)]

    def judged_data(self, pair: Judged) -> list[Path]:
        """Folders of the data that a judging stage reads; attacks also perturb the sound itself."""
        folders = [self.layout.spectrograms(name) for name in dict.fromkeys((pair.trained, pair.judged))]
        return [*folders, self.layout.prepared(pair.judged)] if pair.stage == "audio_attack" else folders

    def judged_rows(self, pair: Judged, job: Job) -> list[Path]:
        """The rows of one job that :meth:`judged_pairs` asks for.

        None when it was trained on other data, nor for attacks on a reference row without an encoder.
        """
        if job.dataset != pair.trained or (pair.stage == "audio_attack" and job.method in WITHOUT_ENCODER):
            return []
        return self.row_files(pair.stage, Job(job.track, pair.label, job.method, job.seed), list(pair.protocols))

    def judging_rows(self, job: Job) -> list[Path]:
        """Every row that the judging stages leave for one job."""
        return [row for pair in self.all_judged_pairs(job.track) for row in self.judged_rows(pair, job)]
