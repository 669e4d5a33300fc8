"""What folders of pictures or sounds hold, seen in about two seconds."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrastbench.datasets.base import SAMPLE_RATE
from contrastbench.datasets.copies import same_files
from contrastbench.datasets.image_folder import find_pictures
from contrastbench.datasets.own import SPLITS
from contrastbench.datasets.own_files import FEWEST, FOLDERS, Listing, columns_of, delimiter_of, list_folder
from contrastbench.datasets.pictures import read_picture
from contrastbench.datasets.sound_files import BadClip, decode
from contrastbench.datasets.sound_folder import find_sounds
from contrastbench.datasets.survey import DATA, MOST_SHOWN, Seen, counted
from contrastbench.errors import UserError
from contrastbench.params.base import from_plain
from contrastbench.params.declared import FileFolder, ImageFolder, SoundFolder

BUDGET_S = 0.5  # for each of: comparing files, twice; reading heads; decoding
LARGEST = 64  # pixels a side that are proposed: what two cores train on
WORD = re.compile(r"([^/_ -]+)([/_ -])")  # what a file's name begins with
TABLES = (".csv", ".tsv")
DEPTHS = {"1": "1 bit", "F": "floating point", "I": "more than 8 bits", "P": "a palette"}


def survey_folder(path: Path, kind: str) -> Seen:
    """What a folder of pictures or sounds holds; a UserError where it cannot be read as data of two classes."""
    plain: dict[str, Any] = {"kind": kind, "path": str(path), "split": _split_of(path)}
    is_image = kind == "image-folder"
    declared: FileFolder = from_plain(ImageFolder, plain | {"size": 8}) if is_image else from_plain(SoundFolder, plain)
    find = find_pictures if is_image else find_sounds
    listing = list_folder(path, declared, find, DATA.validation_fraction, lambda paths: same_files(paths, BUDGET_S))
    labels = {split: columns_of(listing.of(split), listing)[0] for split in SPLITS}
    counts = Counter(file.label for file in listing.files)
    lines = [
        f"{path}: {len(listing.files)} {'pictures' if is_image else 'sounds'}",
        counted({name: counts[name] for name in listing.classes}, labels),
        listing.rule,
    ]
    if listing.others:
        lines.append(f"left out: {len(listing.others)}, such as {listing.others[0]}")
    lines += [*_copies(listing), *([] if listing.files[0].group else _words(listing))]
    paths = [file.path for file in listing.files]
    if is_image:
        size, channels, told, bad = _pictures(paths)
        return Seen(plain | {"size": size, "channels": channels} | _skipping(bad), "image", labels, lines + told + bad)
    seconds, told, bad = _sounds(paths)
    return Seen(plain | _skipping(bad), "audio", labels, lines + told + bad, seconds)


def _skipping(bad: list[str]) -> dict[str, str]:
    """What a declaration says where a line on bad files is followed by their names."""
    return {"on_bad_file": "skip"} if len(bad) > 1 else {}


def _split_of(path: Path) -> dict[str, Any]:
    """The rule that the folder suggests."""
    tables = [file for file in sorted(path.iterdir()) if file.suffix.lower() in TABLES and _names_splits(file)]
    if tables:
        return {"by": "csv", "file": tables[0].name}
    names = {entry.name.lower() for entry in path.iterdir() if entry.is_dir()}
    if names & {*FOLDERS["train"]} and names & {*FOLDERS["test"], *FOLDERS["validation"]}:
        return {"by": "folders"}
    return {"by": "fraction", "test": 0.2}


def _names_splits(table: Path) -> bool:
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline()
    except OSError:
        return False
    return {"file", "split"} <= {name.strip().strip('"') for name in header.strip().split(delimiter_of(header))}


def _copies(listing: Listing) -> list[str]:
    """Which files are copies of others, and whether some stand where the others do not."""
    started = time.monotonic()
    alike = [[listing.files[at] for at in group] for group in same_files([f.path for f in listing.files], BUDGET_S)]
    told = []
    if alike:
        first, second, *_ = alike[0]
        told.append(f"copies: {sum(map(len, alike))} files, such as {first.name} and {second.name}")
    leaks = [group for group in alike if len({file.split for file in group}) > 1]
    if leaks:
        one, other = sorted(leaks[0], key=lambda file: file.split)[:: len(leaks[0]) - 1]
        shown = f"{one.name} ({one.split}) and {other.name} ({other.split})"
        told.append(f"LEAK: {len(leaks)} of them stand in two splits, such as {shown}; leave one out")
    mixed = [group for group in alike if len({file.label for file in group}) > 1]
    if mixed:
        told.append(f"{len(mixed)} of them stand in two classes, such as {mixed[0][0].name}")
    if time.monotonic() - started > BUDGET_S:
        told.append("copies: not all files could be compared in the time; `contrastbench prepare` compares them")
    return told


def _words(listing: Listing) -> list[str]:
    """A line where names begin with words that may say which files belong together; whether they do the user knows.

    Every name begins with one, they repeat, and there are several in a class: a class's own name is none.
    """
    files = listing.files
    found = [WORD.match(file.below) for file in files]
    words = [match[1] for match in found if match]
    marks = {match[2] for match in found if match}
    counts = Counter(words)
    if len(words) < len(files) or len(marks) > 1 or not FEWEST <= len(counts) <= len(files) // 2:
        return []
    if len({(file.label, word) for file, word in zip(files, words, strict=True)}) == len(listing.classes):
        return []
    in_splits = Counter(word for _, word in {(file.split, word) for file, word in zip(files, words, strict=True)})
    parted = sum(count > 1 for count in in_splits.values())
    (mark,) = marks
    shown = ", ".join(f"{word}{mark} {count}" for word, count in counts.most_common(2))
    return [
        f"names begin with {len(counts)} words ({shown}, ...), {parted} of them in several splits: if these are "
        f"speakers, recordings or animals, declare `group: '^([^{mark}]+){mark}'`"
    ]


def _in_time(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, those of all folders mixed, as many as there is time for."""
    first, *others = np.random.default_rng(0).permutation(len(paths))
    yield paths[first]
    end = time.monotonic() + BUDGET_S  # the first file also waits for the library that reads it
    for position in others:
        if time.monotonic() > end:
            return
        yield paths[position]


def _pictures(paths: Sequence[Path]) -> tuple[int, int, list[str], list[str]]:
    """The size and number of channels that fit, what was seen of files, and which of them are bad."""
    from PIL import Image

    formats: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    sides = []
    for path in _in_time(paths):
        try:
            with Image.open(path) as image:
                formats[str(image.format)] += 1
                modes[image.mode] += 1
                sides.append(image.size)
        except Exception:  # told where it is decoded
            continue
    if not sides:
        raise UserError(f"{paths[0]}: cannot be read as a picture, nor can the others")
    colours = []

    def look(path: Path) -> None:
        picture = read_picture(path, 32, path).astype(np.int16)
        colours.append(bool(np.abs(picture - picture[..., :1]).max() > 8))  # JPEG's grey is not quite so

    broken = _broken(paths, look)
    edges = np.array(sides)
    low, high = edges.min(axis=0), edges.max(axis=0)
    range_ = f"{low[0]} x {low[1]}" + ("" if (low == high).all() else f" to {high[0]} x {high[1]}")
    depths = ", ".join(f"{DEPTHS.get(mode[:1], '8 bits')} ({mode}) {count}" for mode, count in modes.most_common())
    told = f"{_shown(formats)}; {range_} pixels; {depths}; {sum(colours)} of {len(colours)} in colour"
    size = max(8, min(LARGEST, int(np.median(edges.min(axis=1)))))
    return size, 3 if any(colours) else 1, [f"{told}{_of(sides, paths)}"], broken


def _sounds(paths: Sequence[Path]) -> tuple[np.ndarray, list[str], list[str]]:
    """Lengths in seconds, what was seen of files, and which of them are bad."""
    import soundfile

    formats: Counter[str] = Counter()
    rates: Counter[str] = Counter()
    for path in _in_time(paths):
        try:
            about = soundfile.info(str(path))
        except Exception:  # told where it is decoded
            continue
        formats[f"{about.format} {about.subtype}"] += 1
        rates[f"{about.samplerate} Hz x {about.channels}"] += 1
    lengths = []
    broken = _broken(paths, lambda path: lengths.append(len(decode(path.read_bytes())) / SAMPLE_RATE))
    if not lengths:
        raise UserError(f"{paths[0]}: cannot be read as a sound, nor can the others")
    seconds = np.array(lengths)
    range_ = f"{seconds.min():.2f} to {seconds.max():.2f} s, half of them up to {np.median(seconds):.2f} s"
    return seconds, [f"{_shown(formats)}; {_shown(rates)}; {range_}{_of(lengths, paths)}"], broken


def _broken(paths: Sequence[Path], look: Callable[[Path], object]) -> list[str]:
    """What those files that ``look`` cannot decode have, as many as there is time for."""
    bad, read = [], 0
    for path in _in_time(paths):
        read += 1
        try:
            look(path)
        except UserError as error:
            bad.append(str(error))
        except (BadClip, OSError) as error:
            bad.append(f"{path}: {getattr(error, 'strerror', None) or error}")
    return [f"broken: {len(bad)} of {read} that were decoded", *bad[:MOST_SHOWN]]


def _shown(found: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.most_common(MOST_SHOWN))


def _of(seen: Sequence[object], paths: Sequence[Path]) -> str:
    return "" if len(seen) == len(paths) else f" ({len(seen)} files were looked at)"
