"""Which rows count: those that the current parameters ask for, of their data, and which of them older code made."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contrastbench.datasets.store import data_hash, spectrogram_hash
from contrastbench.errors import UserError
from contrastbench.params.base import params_hash
from contrastbench.params.files import ParamsFile, files_of, merged
from contrastbench.params.root import Params, from_files
from contrastbench.params.root import presets as known_presets
from contrastbench.pipeline.grid import Grid, Target, targets_of
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.runs import Run, runs_of
from contrastbench.pipeline.stages import STAGES
from contrastbench.results.legacy import SCHEMA_THEN, hashes_spectrograms
from contrastbench.results.load import ROWS, Loaded, rows_at, rows_in
from contrastbench.results.revisions import WORKTREE, files_at
from contrastbench.results.rows import Row

OTHER_PARAMETERS = "made with other parameters than those asked for; run Snakemake again"
OTHER_DATA = "made on other data than those asked for; run Snakemake again"
NO_PRESET = "no such preset (any more): delete it, or bring its file in presets/ back"
NOT_ASKED = "not asked for by the parameters (any more): delete it, or name its method, data set and seed there"


@dataclass
class Asked:
    """What the parameters of one preset ask of a row; with ``data``, also that it was judged on the data here."""

    grid: Grid
    data: bool = True

    def __post_init__(self) -> None:
        self._params: dict[tuple, str] = {}
        self._code: dict[tuple, str] = {}
        self._data: dict[tuple[str, str], str | None] = {}

    def why_not(self, row: Row) -> str | None:
        """Why ``row`` does not count; None if it does, as far as the row alone tells."""
        if not self._is_named(row):
            return NOT_ASKED
        job = Job(row.track, row.dataset, row.method)
        place = (row.schema_version, row.stage, job, row.protocol.source)
        if place not in self._params:
            is_old = row.schema_version == SCHEMA_THEN
            self._params[place] = (
                self.grid.asked_params_then(row.stage, job)
                if is_old
                else self.grid.asked_params(row.stage, job, row.protocol.source)
            )
        if row.params_hash != self._params[place]:
            return OTHER_PARAMETERS
        if not self.data or hashes_spectrograms(row):
            return None
        there = [(self.data_here(row.track, name), digits) for name, digits in data_named(row)]
        return OTHER_DATA if any(found not in (None, digits) for found, digits in there) else None

    def _is_named(self, row: Row) -> bool:
        if row.stage not in STAGES or row.track not in self.grid.params.tracks:
            return False
        stage, section = STAGES[row.stage], self.grid.track(row.track)
        return (
            row.dataset in stage.data(section)
            and any(self._asks(target, row) for target in targets_of(stage))
            and row.protocol.source in (None, *section.methods)
        )

    def _asks(self, target: Target, row: Row) -> bool:
        labels = self.grid.labels(row.track, target)
        return row.method in labels and row.seed in self.grid.seeds(row.track, target)

    def data_here(self, track: str, dataset: str) -> str | None:
        """The hash of a data set as a track's encoders see it; None where it is not prepared here."""
        if (track, dataset) not in self._data:
            found = data_hash(self.grid.root / self.grid.layout.prepared(dataset))
            if found is not None and self.grid.is_sound(track):
                found = spectrogram_hash(found, self.grid.sound(track).front_end)
            self._data[track, dataset] = found
        return self._data[track, dataset]

    def is_older(self, row: Row) -> bool:
        """Whether other code than today's made the row."""
        source = row.protocol.source if row.schema_version != SCHEMA_THEN else None
        place = (row.stage, row.track, row.dataset, row.method, source)
        if place not in self._code:
            self._code[place] = self.grid.asked_code(row.stage, Job(row.track, row.dataset, row.method), source)
        return row.code_hash != self._code[place]


def data_named(row: Row) -> list[tuple[str, str]]:
    """Name and hash of each data set that a row says it was made on."""
    job = Job(row.track, row.dataset, row.method)
    trained = [(job.trained.dataset, row.trained_data_hash)] if row.trained_data_hash is not None else []
    return [(job.judged, row.data_hash), *trained]


def checked(loaded: Loaded, grid: Grid, *, code: bool = True, data: bool = True) -> Loaded:
    """Those rows of the grid's preset that count; with ``code``, rows of older code are marked as such.

    Where a data set is not prepared here, or without ``data``, its rows must at least agree on it: the hash that most
    of them name counts.
    """
    asked = Asked(grid, data)
    loaded = loaded.checked(grid.preset, asked.why_not, asked.is_older if code else lambda _: False)
    counts: dict[tuple, Counter[str]] = {}
    for row in loaded.only(grid.preset).rows:
        for name, digits in data_named(row):
            counts.setdefault((row.track, name, hashes_spectrograms(row)), Counter())[digits] += 1
    usual = {place: max(sorted(found), key=found.__getitem__) for place, found in counts.items()}

    def differs(row: Row) -> str | None:
        named = data_named(row)
        return OTHER_DATA if any(usual[row.track, name, hashes_spectrograms(row)] != d for name, d in named) else None

    return loaded.checked(grid.preset, differs, lambda _: False)


def rows_that_count(root: Path = Path(), preset: str | None = None) -> Loaded:
    """The rows of the working tree that count: of ``preset``, or of all presets.

    Only the parameters of ``preset`` are read (of all presets that have rows, if None), so that a mistake in another
    one stops nobody. Where there are no parameters at all, all rows stay.
    """
    loaded = rows_in(root, ROWS if preset is None else f"{ROWS}/{preset}")
    if not (root / "params.yaml").is_file():
        return loaded
    known = known_presets(root)
    for name in loaded.presets():
        if name in known:
            loaded = checked(loaded, Grid(name, root))
        else:
            loaded = loaded.checked(name, lambda _: NO_PRESET, lambda _: False)
    return loaded


def require_asked(loaded: Loaded, files: Iterable[Path]) -> None:
    """Refuse to show a job's rows as if they were all there, where other parameters or data made some of them."""
    for path in files:
        for reason in (OTHER_PARAMETERS, OTHER_DATA):
            if (path.as_posix(), reason) in loaded.why_not:
                raise UserError(f"{path}: rows {reason.partition(';')[0]}; delete it and run Snakemake again")


def runs_that_count(root: Path, preset: str) -> list[Run]:
    """The training runs that the parameters ask for; all, where there are no parameters."""
    found = runs_of(root, preset)
    if not (root / "params.yaml").is_file():
        return found
    grid = Grid(preset, root)
    return [run for run in found if run.record.get("params_hash") == _asked_of(grid, run)]


def _asked_of(grid: Grid, run: Run) -> str | None:
    try:
        params = grid.pretrain_params(Job(run.track, run.dataset, run.method, run.seed))
    except UserError:  # no such track or method (any more)
        return None
    return None if params is None else params_hash(params)


def rows_that_counted(revision: str, preset: str, root: Path = Path()) -> Loaded:
    """The rows of ``preset`` at a git revision, or in the WORKTREE, that the parameters there ask for.

    The data prepared here say nothing about a commit. Parameters that this version cannot read are a problem, and all
    rows stay.
    """
    loaded = rows_at(revision, f"{ROWS}/{preset}", root)
    try:
        grid = Grid(preset, root, given=params_at(revision, preset, root))
        return checked(loaded, grid, code=False, data=revision == WORKTREE)
    except UserError as problem:
        loaded.problems.append(f"{problem}; all rows count, whatever made them")
        return loaded


def params_at(revision: str, preset: str, root: Path = Path()) -> Params:
    """The parameters of a preset at a git revision, or in the WORKTREE; a UserError where they cannot be read."""
    return from_files(_files_at(revision, preset, root), root)


def contents_at(revision: str, preset: str, root: Path = Path()) -> dict:
    """The same, as the files have them."""
    return merged(_files_at(revision, preset, root))


def _files_at(revision: str, preset: str, root: Path) -> list[ParamsFile]:
    """What a params.yaml there extends is this package as it is now."""
    return files_of(preset, lambda path: files_at(revision, path, root).get(path), lambda path: f"{revision}:{path}")
