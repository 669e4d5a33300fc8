"""Pictures of the user's own, in a folder for each class."""

from tempfile import TemporaryFile

import numpy as np

from contrastbench.datasets.base import Split
from contrastbench.datasets.own import SPLITS, Own, Reading, refuse_bad
from contrastbench.datasets.own_files import File, columns_of, listed, own
from contrastbench.datasets.pictures import find_pictures, read_picture
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.errors import UserError
from contrastbench.params.declared import ImageFolder


def read(reading: Reading, declared: ImageFolder) -> Own:
    """The pictures of a folder, as ``declared`` says; a UserError where they cannot be read.

    They are decoded one after another into a file, so that they need not fit into memory.
    """
    listing = listed(reading, declared, find_pictures)
    splits, names, bad = {}, {}, []
    for split in SPLITS:
        files = listing.of(split)
        reasons: list[str] = []
        kept: list[File] = []
        x = on_disk((len(files), declared.size, declared.size, declared.channels))
        for file in reading.progress(files):
            try:
                x[len(kept)] = read_picture(file.path, declared.size, file.path, declared.channels)
                kept.append(file)
            except UserError as error:
                reasons.append(str(error))
        y, columns = columns_of(kept, listing)
        splits[split] = Split(x[: len(kept)], y, columns, (*reasons, *(listing.others if split == "train" else ())))
        names[split] = [file.name for file in kept]
        bad += reasons
    refuse_bad(reading.name, bad, len(listing.files), declared.on_bad_file)
    return own(reading.name, "image", declared, listing, splits, names)


def on_disk(shape: tuple[int, ...]) -> np.ndarray:
    """An array of uint8 in a file that goes with it."""
    if not shape[0]:
        return np.empty(shape, np.uint8)
    with scratch_folder() as folder, TemporaryFile(dir=folder) as spool:
        return np.memmap(spool, np.uint8, "w+", shape=shape)
