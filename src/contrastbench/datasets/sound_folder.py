"""Sounds of the user's own, in a folder for each class."""

from pathlib import Path

from contrastbench.datasets.base import Split
from contrastbench.datasets.clips import SOUNDS
from contrastbench.datasets.found import Found, find_files
from contrastbench.datasets.own import SPLITS, Own, Reading, refuse_bad
from contrastbench.datasets.own_files import columns_of, listed, own
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.datasets.sound_files import read_sounds
from contrastbench.params.declared import SoundFolder


def find_sounds(folder: Path) -> Found:
    """The sound files in ``folder``, and what else is in it."""
    return find_files(folder, frozenset(SOUNDS), "a sound that can be read")


def read(reading: Reading, declared: SoundFolder) -> Own:
    """The sounds of a folder, as ``declared`` says; a UserError where they cannot be read."""
    listing = listed(reading, declared, find_sounds)
    params = reading.params.model_copy(update={"stereo": declared.stereo})
    splits, names, bad = {}, {}, []
    for split in SPLITS:
        files = listing.of(split)
        pairs = ((str(file.path), file.path) for file in reading.progress(files))
        with scratch_folder() as folder:
            sounds = read_sounds(pairs, folder, params)
        kept = [file for file, is_kept in zip(files, sounds.kept, strict=True) if is_kept]
        y, columns = columns_of(kept, listing)
        others = listing.others if split == "train" else ()
        splits[split] = Split(sounds.samples, y, {"offsets": sounds.offsets} | columns, (*sounds.bad, *others))
        names[split] = [file.name for file in kept]
        bad += sounds.bad
    refuse_bad(reading.name, bad, len(listing.files), declared.on_bad_file)
    return own(reading.name, "audio", declared, listing, splits, names)
