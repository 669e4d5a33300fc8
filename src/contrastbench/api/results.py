"""Tables, rows and comparisons as data frames: what the command line shows, at full precision."""

import warnings
from collections.abc import Iterable

import pandas as pd

from contrastbench.api.project import Project, inside
from contrastbench.errors import UserError
from contrastbench.params.root import DEFAULT
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.pipeline.grid import TARGETS
from contrastbench.pipeline.resolved import resolved
from contrastbench.reporting.compare import Change, compare_revisions
from contrastbench.reporting.export import rows_frame
from contrastbench.reporting.render import as_frame
from contrastbench.reporting.rendered import by_track, target_tables
from contrastbench.results.load import ROWS, Loaded
from contrastbench.results.revisions import WORKTREE


def tables(preset: str = DEFAULT, *, project: Project = None) -> pd.DataFrame:
    """Every table of a preset in one frame, a line per cell, from the rows that count.

    ``track`` and ``target`` (``methods``, ``ablation``, ``cost`` or ``search``) say which table a cell stands in; the
    other columns are those of ``results/tables/PRESET/TRACK.csv`` (of other targets ``TRACK-TARGET.csv``): mean over
    seeds, its 95 % interval ``low`` to ``high``, and what else a reader should know of it. Shares lie in [0, 1].

    project  the project folder; the working directory if not given

    Raises UserError for an unknown preset, and for one without rows. Rows that do not count are warned of.
    """
    with inside(project):
        loaded = _rows_of(preset)
        _warn([*loaded.problems, *loaded.left_out])
        frames = [
            as_frame(shown).assign(track=track, target=target)
            for track, of_track in by_track(loaded, preset).items()
            for target in TARGETS
            if (shown := target_tables(of_track, preset, track, target))
        ]
    found = pd.concat(frames, ignore_index=True)
    return found[["track", "target", *found.columns.drop(["track", "target"])]]


def rows(preset: str = DEFAULT, *, project: Project = None) -> pd.DataFrame:
    """Every result row of a preset that counts, a line per row, with what made it.

    The columns are the fields of a row (docs/architecture.md): hashes of parameters, data and code, device, time and
    memory beside the value and its interval; the parts of its protocol as ``protocol_PART``, ``detail`` as JSON text.
    ``older_code`` says whether other code than today's made it.

    project  the project folder; the working directory if not given

    Raises UserError for an unknown preset, and for one without rows. Rows that do not count are warned of.
    """
    with inside(project):
        loaded = _rows_of(preset)
    _warn([*loaded.problems, *loaded.left_out])
    return rows_frame(loaded).assign(older_code=[row.identity in loaded.older for row in loaded.rows])


def compare(before: str, after: str = WORKTREE, *, preset: str = DEFAULT, project: Project = None) -> pd.DataFrame:
    """Every cell of two commits, worst first, as ``contrastbench compare BEFORE AFTER --all`` judges them.

    before, after  git revisions, or ``WORKTREE``: the files as they are on disk
    project        the project folder, in a git repository; the working directory if not given

    ``before`` and ``after`` are means over seeds, ``difference`` is after minus before with its 95 % interval ``low``
    to ``high``; ``p_value`` is Holm-corrected over all tested cells; ``why`` says what differs between the two sides.

    Raises UserError for an unknown revision, and where neither has rows. What could not be read is warned of.
    """
    with inside(project):
        comparison = compare_revisions(before, after, preset)
    _warn(comparison.problems)
    return pd.DataFrame([_cell(change) for change in comparison.changes])


def _cell(change: Change) -> dict[str, object]:
    key, (low, high) = change.key, change.interval or (None, None)
    return {
        "outcome": change.outcome,
        "track": key.track,
        "dataset": key.dataset,
        "method": key.method,
        "protocol": key.protocol.name,
        "metric": key.metric,
        "before": change.before and change.before.mean,
        "after": change.after and change.after.mean,
        "difference": change.difference,
        "low": low,
        "high": high,
        "p_value": change.p_value,
        "why": change.why,
    }


def _rows_of(preset: str) -> Loaded:
    resolved(preset)  # an unknown preset is told as such
    loaded = rows_that_count(preset=preset)
    if not loaded.rows:
        making = "`snakemake --cores all`" if preset == DEFAULT else f"`snakemake --cores all --config preset={preset}`"
        raise UserError(f"{ROWS}/{preset}: no result rows that count; {making} makes them")
    return loaded


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        warnings.warn(line, stacklevel=3)  # at the call of the function that calls this
