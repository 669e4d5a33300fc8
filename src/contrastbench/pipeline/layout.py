"""Where every file of a run lies. Paths are relative to the project folder (the working directory)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One cell of the experiment grid: the wildcards of most pipeline steps."""

    track: str
    dataset: str
    method: str  # a registered method or the label of a variant
    seed: int


@dataclass(frozen=True)
class Layout:
    """Paths of one preset."""

    preset: str

    def raw(self, dataset: str) -> Path:
        """Official archives of a data set."""
        return Path("data/raw") / dataset

    def prepared(self, dataset: str) -> Path:
        """Arrays of a data set; the same for all presets."""
        return Path("data/prepared") / dataset

    def spectrograms(self, dataset: str) -> Path:
        """Log-mel arrays of an audio data set."""
        return Path("data/spectrograms") / self.preset / dataset

    def stage(self, stage: str, track: str) -> Path:
        """Folder that ``stage`` writes for all jobs of ``track``."""
        return Path("runs") / self.preset / stage / track

    def run(self, stage: str, job: Job) -> Path:
        """Folder that ``stage`` writes for ``job``."""
        return self.stage(stage, job.track) / job.dataset / job.method / str(job.seed)

    def fingerprint(self, step: str) -> Path:
        """File that changes just when the code of ``step`` changes in meaning."""
        return Path("runs/fingerprints") / f"{step}.txt"

    @property
    def rows(self) -> Path:
        """Root of the result rows of all presets."""
        return Path("results/rows")

    def rows_of(self, stage: str, track: str) -> Path:
        """Folder of the rows that ``stage`` writes for ``track``."""
        return self.rows / self.preset / stage / track

    @property
    def tables(self) -> Path:
        """Rendered tables of this preset."""
        return Path("results/tables") / self.preset

    @property
    def metrics(self) -> Path:
        """Means of this preset, as `dvc metrics` reads them."""
        return Path("results/metrics") / self.preset
