"""Sounds of the user's own, in a folder for each class."""

from collections.abc import Sequence
from pathlib import Path

from contrastbench.datasets.clips import SOUNDS
from contrastbench.datasets.found import Found, find_files
from contrastbench.datasets.own import Own, Reading
from contrastbench.datasets.own_files import File, Read, read_files
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.datasets.sound_files import read_sounds
from contrastbench.params.declared import SoundFolder


def find_sounds(folder: Path) -> Found:
    """The sound files in ``folder``, and what else is in it."""
    return find_files(folder, frozenset(SOUNDS), "a sound that can be read")


def read(reading: Reading, declared: SoundFolder) -> Own:
    """The sounds of a folder, as ``declared`` says; a UserError where they cannot be read."""
    params = reading.params.model_copy(update={"stereo": declared.stereo})

    def sounds(files: Sequence[File]) -> Read:
        with scratch_folder() as folder:
            found = read_sounds(((str(file.path), file.path) for file in reading.progress(files)), folder, params)
        missing = [file.path for file, is_kept in zip(files, found.kept, strict=True) if not is_kept]
        return found.samples, {"offsets": found.offsets}, dict(zip(missing, found.bad, strict=True))

    return read_files(reading, declared, "audio", find_sounds, sounds)
