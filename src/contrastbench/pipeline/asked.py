"""Which rows count: those that the current parameters ask for, of their data, and which of them older code made."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from contrastbench.datasets.store import data_hash, spectrogram_hash
from contrastbench.errors import UserError
from contrastbench.params.base import overlay, parse_yaml
from contrastbench.params.root import DEFAULT, Params, from_content
from contrastbench.params.root import presets as known_presets
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import STAGES, Scope
from contrastbench.results.legacy import hashes_spectrograms, source_named
from contrastbench.results.load import ROWS, Loaded, rows_at, rows_in
from contrastbench.results.revisions import WORKTREE, files_at
from contrastbench.results.rows import Row

OTHER_PARAMETERS = "made with other parameters than those asked for; run Snakemake again"
OTHER_DATA = "judged on other data than those asked for; run Snakemake again"
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
        job, source = Job(row.track, row.dataset, row.method), source_named(row)
        place = (row.stage, row.track, row.dataset, row.method, source)
        if place not in self._params:
            self._params[place] = self.grid.asked_params(row.stage, job, source)
        if row.params_hash != self._params[place]:
            return OTHER_PARAMETERS
        if not self.data or hashes_spectrograms(row):
            return None
        expected = self.data_here(row.track, job.judged)
        return OTHER_DATA if expected not in (None, row.data_hash) else None

    def _is_named(self, row: Row) -> bool:
        if row.stage not in STAGES or row.track not in self.grid.params.tracks:
            return False
        stage, section = STAGES[row.stage], self.grid.track(row.track)
        labels = [*section.methods, *(section.ablation if stage.scope is not Scope.METHODS else ())]
        sources = (None, *section.methods)
        return (
            row.dataset in stage.data(section)
            and row.method in labels
            and row.seed in section.seeds
            and row.protocol.source in sources
        )

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
        place = (row.stage, row.track, row.dataset, row.method)
        if place not in self._code:
            self._code[place] = self.grid.asked_code(row.stage, Job(row.track, row.dataset, row.method))
        return row.code_hash != self._code[place]


def checked(loaded: Loaded, grid: Grid, *, code: bool = True, data: bool = True) -> Loaded:
    """Those rows of the grid's preset that count; with ``code``, rows of older code are marked as such.

    Where a data set is not prepared here, or without ``data``, its rows must at least agree on it: the hash that most
    of them name counts.
    """
    asked = Asked(grid, data)
    loaded = loaded.checked(grid.preset, asked.why_not, asked.is_older if code else lambda _: False)
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in loaded.only(grid.preset).rows:
        counts.setdefault((row.track, row.dataset), Counter())[row.data_hash] += 1
    usual = {place: max(sorted(found), key=found.__getitem__) for place, found in counts.items()}

    def differs(row: Row) -> str | None:
        return OTHER_DATA if row.data_hash != usual[row.track, row.dataset] else None

    return loaded.checked(grid.preset, differs, lambda _: False)


def rows_that_count(root: Path = Path(), preset: str | None = None) -> Loaded:
    """The rows of the working tree that count: of ``preset``, or of all presets.

    Only the parameters of ``preset`` are read (of all presets that have rows, if None), so that a mistake in another
    one stops nobody. Where there are no parameters, or a preset is no more, all rows stay.
    """
    loaded = rows_in(root, ROWS if preset is None else f"{ROWS}/{preset}")
    known = known_presets(root) if (root / "params.yaml").is_file() else []
    for name in loaded.presets():
        if name in known:
            loaded = checked(loaded, Grid(name, root))
    return loaded


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
    return from_content(contents_at(revision, preset, root), f"{revision}: parameters of preset {preset}")


def contents_at(revision: str, preset: str, root: Path = Path()) -> dict:
    """The same, as the files have them."""
    content: dict = {}
    for path in ("params.yaml", *([] if preset == DEFAULT else [f"presets/{preset}.yaml"])):
        found = files_at(revision, path, root)
        if not found:
            raise UserError(f"{revision}: {path}: no such parameter file")
        for text in found.values():
            content = overlay(content, parse_yaml(text, f"{revision}:{path}"))
    return content
