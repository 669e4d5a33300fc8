"""The experiment grid of one preset: which jobs there are, which files they need and leave.

Snakefile, DVC's stages and the command line all read it, so that they cannot disagree. No torch in here.
"""

from pathlib import Path

from contrastbench.params.base import params_hash
from contrastbench.params.root import DEFAULT
from contrastbench.pipeline.audio_grid import AudioGrid
from contrastbench.pipeline.figure_grid import FigureGrid
from contrastbench.pipeline.fingerprint import fingerprint


class Grid(FigureGrid, AudioGrid):
    """All stages of a preset, up to its tables and its report."""

    def datasets(self) -> list[str]:
        """Every data set that the preset trains or probes on."""
        names = [name for track in self.params.tracks for name in self.track(track).datasets]
        names += [
            name for track in self.params.tracks for pair in self.transfers(track) for name in (pair.train, pair.probe)
        ]
        names += [name for track in self.params.tracks for name in self.audio_datasets(track)]
        return list(dict.fromkeys(names))

    def rows(self, track: str) -> list[Path]:
        """Every row of a track that the default target asks for."""
        probed = [row for job in self.jobs(track) for row in (*self.rows_of(job), *self.judging_rows(job))]
        return probed + self.transfer_rows(track) + self.attack_targets(track)

    def tables(self, track: str) -> list[Path]:
        """The rendered tables of a track."""
        return [self.layout.tables / f"{track}.{ending}" for ending in ("md", "csv", "tex")]

    def metrics(self, track: str) -> Path:
        """The means of a track, as `dvc metrics` reads them."""
        return self.layout.metrics / f"{track}.json"

    def tables_state(self, track: str) -> str:
        """What makes a track's tables stale besides their rows: the code that renders them, and the methods' order."""
        section = self.track(track)
        return "-".join([fingerprint("tables"), *section.methods, "ablation", *section.ablation])

    def report(self) -> Path:
        """The page that shows everything."""
        return Path("results") / ("report.html" if self.preset == DEFAULT else f"report-{self.preset}.html")

    def report_state(self) -> str:
        """What makes the report stale besides what it shows: the code that draws it, the parameters that it names."""
        return f"{fingerprint('report')}-{params_hash(self.params)}"

    def targets(self) -> list[Path]:
        """Every track's rows, tables and still images. A finished table alone would hide that rows are missing."""
        made = [(*self.rows(track), *self.tables(track), *self.figure_files(track)) for track in self.params.tracks]
        return [path for files in made for path in files]

    def ablation_rows(self, track: str) -> list[Path]:
        """Every row of a track's ablation."""
        jobs = self.ablation_jobs(track)
        return [row for job in jobs for row in (*self.rows_of(job), *self.judging_rows(job), *self.attack_rows(job))]

    def every_row(self) -> list[Path]:
        """Every row that any target asks for."""
        return [row for track in self.params.tracks for row in (*self.rows(track), *self.ablation_rows(track))]

    def ablation_tables(self, track: str) -> list[Path]:
        """The rendered tables of a track's ablation; none where the preset does not run the track."""
        if track not in self.params.tracks:
            return []
        return [self.layout.tables / f"{track}-ablation.{ending}" for ending in ("md", "csv", "tex")]
