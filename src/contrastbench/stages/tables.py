"""Stage ``tables``: what one track's rows look like as tables, and its means for `dvc metrics`."""

from contrastbench.errors import UserError
from contrastbench.reporting.rendered import ablation_files, track_files
from contrastbench.results.load import Loaded


def tables(loaded: Loaded, preset: str, track: str, *, ablation: bool = False) -> dict[str, str]:
    """The rendered files by path; a track without rows of the preset is a UserError."""
    files = (ablation_files if ablation else track_files)(loaded, preset, track)
    if not files:
        raise UserError(f"track {track!r}, preset {preset!r}: no {'rows of variants' if ablation else 'rows'} to show")
    return files
