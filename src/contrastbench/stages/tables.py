"""Stage ``tables``: what one track's rows look like as tables, and its means for `dvc metrics`."""

from contrastbench.errors import UserError
from contrastbench.pipeline.grid import Target
from contrastbench.reporting.rendered import target_files, track_files
from contrastbench.results.load import Loaded


def tables(loaded: Loaded, preset: str, track: str, target: Target = "methods") -> dict[str, str]:
    """The rendered files by path; a track without rows of the preset is a UserError."""
    own = target == "methods"
    files = track_files(loaded, preset, track) if own else target_files(loaded, preset, track, target)
    if not files:
        raise UserError(f"track {track!r}, preset {preset!r}: no {'rows' if own else f'rows of its {target}'} to show")
    return files
