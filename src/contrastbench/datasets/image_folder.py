"""Pictures of the user's own, in a folder for each class."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from contrastbench.datasets.own import Own, Reading
from contrastbench.datasets.own_files import File, Read, read_files
from contrastbench.datasets.pictures import find_pictures, read_picture
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.errors import UserError
from contrastbench.params.declared import ImageFolder


def read(reading: Reading, declared: ImageFolder) -> Own:
    """The pictures of a folder, as ``declared`` says; a UserError where they cannot be read."""

    def pictures(files: Sequence[File]) -> Read:
        x = on_disk((len(files), declared.size, declared.size, declared.channels))
        bad: dict[Path, str] = {}
        for position, file in enumerate(reading.progress(files)):
            try:
                x[position] = read_picture(file.path, declared.size, file.path, declared.channels)
            except UserError as error:
                bad[file.path] = str(error)
        return x, {}, bad

    return read_files(reading, declared, "image", find_pictures, pictures)


def on_disk(shape: tuple[int, ...]) -> np.ndarray:
    """An array of uint8 in a file that goes with it: pictures need not fit into memory."""
    if not shape[0]:
        return np.empty(shape, np.uint8)
    with scratch_folder() as folder, TemporaryFile(dir=folder) as spool:
        return np.memmap(spool, np.uint8, "w+", shape=shape)
