"""Where every file of a run lies. Paths are relative to the project folder (the working directory)."""

from dataclasses import dataclass, replace
from pathlib import Path

from contrastbench.registry import RESERVED_IN_NAMES
from contrastbench.results.load import ALL, ROWS

ALL_SEEDS = -1


@dataclass(frozen=True)
class Job:
    """One cell of the experiment grid: the wildcards of most rules.

    dataset  the data set that is trained and judged on, or ``TRAINED-to-JUDGED``
    method   a registered method or the label of a variant; ``ALL`` where the stage takes all at once
    seed     ``ALL_SEEDS`` where the stage takes all of the track's seeds at once
    """

    track: str
    dataset: str
    method: str = ALL
    seed: int = ALL_SEEDS

    @property
    def trained(self) -> "Job":
        """The same job on the data set that its encoder is trained on."""
        return replace(self, dataset=self.dataset.partition(RESERVED_IN_NAMES)[0])

    @property
    def judged(self) -> str:
        """The data set that it is judged on."""
        return self.dataset.partition(RESERVED_IN_NAMES)[2] or self.dataset

    @property
    def folder(self) -> Path:
        """``TRACK/DATASET/METHOD/SEED``."""
        return Path(self.track, self.dataset, self.method, ALL if self.seed == ALL_SEEDS else str(self.seed))

    @property
    def name(self) -> str:
        """For messages."""
        return " ".join(self.folder.parts)


def pair(trained: str, judged: str) -> str:
    """How rows and paths name an encoder's data set and the one that it is judged on."""
    return trained if judged == trained else f"{trained}{RESERVED_IN_NAMES}{judged}"


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

    def spectrograms(self, track: str, dataset: str) -> Path:
        """Log-mel arrays of an audio data set, as a track's front end makes them."""
        return Path("data/spectrograms") / self.preset / track / dataset

    @property
    def runs(self) -> Path:
        """Everything that the stages leave, besides data and results."""
        return Path("runs") / self.preset

    @property
    def begun(self) -> Path:
        """Written when the first run of a checkout begins: results that are older came with git."""
        return Path("runs/begun")

    def run(self, stage: str, job: Job) -> Path:
        """Folder that ``stage`` writes for ``job``."""
        return self.runs / stage / job.folder

    def log(self, stage: str, job: Job) -> Path:
        """What ``stage`` printed."""
        return self.runs / "logs" / stage / f"{job.folder}.log"

    @property
    def logged(self) -> Path:
        """What loggers (``--log``) keep on this machine."""
        return self.runs / "log"

    def benchmark(self, stage: str, job: Job) -> Path:
        """What Snakemake measured of ``stage``."""
        return self.runs / "benchmarks" / stage / f"{job.folder}.tsv"

    def fingerprint(self, step: str) -> Path:
        """File that changes just when the code of ``step`` changes in meaning."""
        return Path("runs/fingerprints") / f"{step}.txt"

    def rows(self, stage: str, job: Job) -> Path:
        """The rows that ``stage`` writes for ``job``."""
        return Path(ROWS) / self.preset / stage / f"{job.folder}.jsonl"

    def receipt(self, rows: Path) -> Path:
        """What says that the file ``rows`` was measured in this checkout."""
        return self.runs / "measured" / f"{rows.relative_to(Path(ROWS) / self.preset)}.sha256"

    def table(self, track: str, ending: str) -> Path:
        """One rendered table file; ``track`` may end in ``-TARGET``."""
        return Path("results/tables") / self.preset / f"{track}.{ending}"

    def metrics(self, track: str) -> Path:
        """Means of a track, as `dvc metrics` reads them."""
        return Path("results/metrics") / self.preset / f"{track}.json"

    @property
    def report(self) -> Path:
        """The page that shows everything."""
        return Path("results") / ("report.html" if self.preset == "default" else f"report-{self.preset}.html")
