"""Data that the user made by a command, of which Snakemake knows no parameters: whether they are still those asked for.

Beside such a folder of arrays stands what they were made by. A job of Snakemake's removes it.
"""

import os
from pathlib import Path

from contrastbench.errors import UserError
from contrastbench.files import file_hash, write_text
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.resolved import PARAMS_VARIABLE


def note_data(folder: Path, state: str) -> None:
    """Keep the ``state`` by which the data in ``folder`` have been made, unless a run of Snakemake's made them."""
    if os.environ.get(PARAMS_VARIABLE):
        note_beside(folder).unlink(missing_ok=True)
    else:
        write_text(note_beside(folder), _said(folder, state))


def check_by_hand(grid: Grid) -> None:
    """Refuse data of a command whose files, parameters or code have changed since: Snakemake would not notice."""
    for name in grid.datasets():
        remedy = f"run `contrastbench prepare {name} --preset {grid.preset}`"
        _check(grid.layout.prepared(name), grid.prepare_state(name), remedy)
    for track in grid.params.tracks:
        for name in grid.spectrogram_datasets(track):
            remedy = f"run `contrastbench spectrograms {track} {name} --preset {grid.preset}`"
            _check(grid.layout.spectrograms(track, name), grid.spectrogram_state(track), remedy)


def _check(folder: Path, state: str, remedy: str) -> None:
    note, meta = note_beside(folder), folder / "meta.json"
    if not note.is_file() or not meta.is_file():
        return
    said = note.read_text(encoding="utf-8")
    is_of_these = said.endswith(file_hash(meta))  # and not of others that DVC has put there
    if is_of_these and said != _said(folder, state):
        raise UserError(f"{folder}: made by hand, of other files, parameters or code; {remedy}")


def _said(folder: Path, state: str) -> str:
    return f"{state} {file_hash(folder / 'meta.json')}"


def note_beside(folder: Path) -> Path:
    """The file beside ``folder`` that tells what its arrays were made by."""
    return folder.with_name(f"{folder.name}.by-hand.txt")
