"""What lies at a path, seen in about two seconds: of what kind it is, how much of it, and what is wrong with it."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contrastbench.datasets.copies import same_files
from contrastbench.datasets.graph_folder import is_graph_folder
from contrastbench.datasets.image_folder import find_pictures
from contrastbench.datasets.own import SPLITS
from contrastbench.datasets.own_files import Listing, columns_of, list_folder, walk
from contrastbench.datasets.pictures import read_picture
from contrastbench.datasets.sound_files import BadClip, decode
from contrastbench.datasets.sound_folder import find_sounds
from contrastbench.errors import UserError
from contrastbench.params.base import from_plain
from contrastbench.params.declared import ImageFolder, SoundFolder

BUDGET_S = 0.6  # for each of: comparing files, reading headers, decoding
MOST_SHOWN = 12  # classes
VALIDATION = 0.1
DEPTHS = {"1": "1 bit", "F": "floating point", "I": "16 or 32 bits", "P": "a palette"}


@dataclass(frozen=True)
class Seen:
    """What was seen.

    declared  the declaration that fits, as YAML has it
    modality  of what it declares
    labels    class numbers of each split
    lines     what to tell, a line each
    seconds   (n,) lengths of those sounds that were looked at
    """

    declared: dict
    modality: str
    labels: dict[str, np.ndarray]
    lines: list[str]
    seconds: np.ndarray


def kind_at(path: Path) -> str:
    """The kind of what lies at ``path``; a UserError where it is none, nothing, or an empty folder."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix == ".npz":
        return "npz"
    if not path.is_dir():
        raise UserError(f"{path}: no folder, and no file of np.savez (.npz)")
    if is_graph_folder(path):
        return "graph-folder"
    if any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return "huggingface"
    pictures, sounds = (len(walk(path, find).paths) for find in (find_pictures, find_sounds))
    if not pictures and not sounds:
        raise UserError(f"{path}: an empty folder: no picture, sound or graph in it")
    return "image-folder" if pictures >= sounds else "sound-folder"


def survey_folder(path: Path, kind: str) -> Seen:
    """What a folder of pictures or sounds holds; a UserError where it cannot be read as data of two classes."""
    find = find_pictures if kind == "image-folder" else find_sounds
    split = _split_of(path)
    plain = {"kind": kind, "path": str(path), "split": split}
    model = ImageFolder if kind == "image-folder" else SoundFolder
    declared = from_plain(model, plain | ({"size": 64} if kind == "image-folder" else {}))
    started = time.monotonic()
    listing = list_folder(path, declared, find, VALIDATION, copies=lambda paths: same_files(paths, BUDGET_S))
    labels = {split: columns_of(listing.of(split), listing)[0] for split in SPLITS}
    lines = [_counts(path, kind, listing, labels), *_left_out(listing)]
    compared = time.monotonic() - started < BUDGET_S
    lines += _copies(listing) if compared else ["copies of files: not looked for, in a folder as large as this"]
    paths = [file.path for file in listing.files]
    if kind == "sound-folder":
        seconds, told = _sounds(paths)
        return Seen(plain, "audio", labels, lines + told, seconds)
    size, channels, told = _pictures(paths)
    return Seen(plain | {"size": size, "channels": channels}, "image", labels, lines + told, np.zeros(0))


def _split_of(path: Path) -> dict:
    """The rule that the folder suggests."""
    tables = [file for file in sorted(path.glob("*.csv")) if _names_splits(file)]
    if tables:
        return {"by": "csv", "file": tables[0].name}
    names = {entry.name.lower() for entry in path.iterdir() if entry.is_dir()}
    if names & {"train", "training"} and names & {"test", "testing", "val", "valid", "validation"}:
        return {"by": "folders"}
    return {"by": "fraction", "test": 0.2}


def _names_splits(table: Path) -> bool:
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return {"file", "split"} <= {name.strip().strip('"') for name in file.readline().split(",")}


def _counts(path: Path, kind: str, listing: Listing, labels: dict[str, np.ndarray]) -> str:
    what = "pictures" if kind == "image-folder" else "sounds"
    found = Counter(file.label for file in listing.files)
    shown = ", ".join(f"{name} {found[name]}" for name in listing.classes[:MOST_SHOWN])
    more = f", ... ({found.most_common()[-1][1]} to {found.most_common()[0][1]})" if len(found) > MOST_SHOWN else ""
    splits = ", ".join(f"{split} {len(y)}" for split, y in labels.items())
    return f"{path}: {len(listing.files)} {what} of {len(found)} classes: {shown}{more}; {splits}"


def _left_out(listing: Listing) -> list[str]:
    return [f"left out: {len(listing.others)}, such as {listing.others[0]}"] if listing.others else []


def _copies(listing: Listing) -> list[str]:
    alike = same_files([file.path for file in listing.files], BUDGET_S)
    told = []
    if alike:
        first, second, *_ = (listing.files[at].name for at in alike[0])
        told.append(f"copies: {sum(map(len, alike))} files hold what another holds too, such as {first} and {second}")
    apart = [group for group in alike if len({listing.files[at].split for at in group}) > 1]
    if apart:
        one, other = ([listing.files[at] for at in apart[0]])[:2]
        told.append(
            f"LEAK: {len(apart)} contents stand in two splits, such as {one.name} ({one.split}) and {other.name} "
            f"({other.split}); leave one out"
        )
    mixed = [group for group in alike if len({listing.files[at].label for at in group}) > 1]
    if mixed:
        one, other = ([listing.files[at] for at in mixed[0]])[:2]
        told.append(f"{len(mixed)} contents stand in two classes, such as {one.name} and {other.name}")
    return told


def _spread(paths: Sequence[Path], seconds: float) -> Iterable[Path]:
    """The files one after another, in an order that leaves none of the folders out, as long as there is time."""
    end = time.monotonic() + seconds
    order = np.random.default_rng(0).permutation(len(paths))
    for position in order:
        if time.monotonic() > end:
            return
        yield paths[position]


def _pictures(paths: Sequence[Path]) -> tuple[int, int, list[str]]:
    """The size and number of channels that fit, and what was seen of files' heads and contents."""
    from PIL import Image

    formats: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    sides: list[tuple[int, int]] = []
    bad: list[str] = []
    read = 0
    for path in _spread(paths, BUDGET_S):
        try:
            with Image.open(path) as image:
                formats[str(image.format)] += 1
                modes[image.mode] += 1
                sides.append(image.size)
        except Exception as error:  # told once more, in the reader's words, where it is decoded
            bad.append(f"{path}: {str(error).partition(chr(10))[0]}")
    coloured = False
    bad = []
    for path in _spread(paths, BUDGET_S):
        read += 1
        try:
            picture = read_picture(path, 32, path).astype(np.int16)
            coloured = coloured or bool(np.abs(picture - picture[..., :1]).max() > 8)
        except UserError as error:
            bad.append(str(error))
    if not sides:
        raise UserError(f"{paths[0]}: no picture can be read, nor any other here")
    edges = np.array(sides)
    low, high = edges.min(axis=0), edges.max(axis=0)
    median = int(np.median(edges.min(axis=1)))
    shown = f"{low[0]} x {low[1]}" + ("" if (low == high).all() else f" to {high[0]} x {high[1]}")
    kinds = ", ".join(f"{name} {count}" for name, count in formats.most_common())
    depth = ", ".join(
        f"{DEPTHS.get(mode[:1], '8 bits') if mode not in ('PA', 'La') else mode} ({mode}) {count}"
        for mode, count in modes.most_common()
    )
    lines = [f"{kinds}; {shown} pixels; {depth}; {'in colour' if coloured else 'grey'}{_of(len(sides), len(paths))}"]
    lines += _broken(bad, read, len(paths))
    return min(64, max(8, median)), 3 if coloured else 1, lines


def _sounds(paths: Sequence[Path]) -> tuple[np.ndarray, list[str]]:
    import soundfile

    formats: Counter[str] = Counter()
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    seconds = []
    for path in _spread(paths, BUDGET_S):
        try:
            about = soundfile.info(str(path))
        except Exception:  # told where it is decoded
            continue
        formats[f"{about.format} {about.subtype}"] += 1
        rates[about.samplerate] += 1
        channels[about.channels] += 1
        seconds.append(about.duration)
    bad, read = [], 0
    for path in _spread(paths, BUDGET_S):
        read += 1
        try:
            decode(path.read_bytes())
        except (BadClip, OSError) as error:
            bad.append(f"{path}: {error}")
    if not seconds:
        raise UserError(f"{paths[0]}: no sound can be read, nor any other here")
    kinds = ", ".join(f"{name} {count}" for name, count in formats.most_common())
    shown = ", ".join(f"{rate} Hz {count}" for rate, count in rates.most_common(MOST_SHOWN))
    tracks = ", ".join(f"channels {number}: {count}" for number, count in channels.most_common())
    lines = [
        f"{kinds}; {shown}; {tracks}; {min(seconds):.2f} to {max(seconds):.2f} s, median {np.median(seconds):.2f} s"
        f"{_of(len(seconds), len(paths))}"
    ]
    return np.array(seconds), lines + _broken(bad, read, len(paths))


def _of(seen: int, count: int) -> str:
    return "" if seen == count else f" (of {seen} files that were looked at)"


def _broken(bad: list[str], read: int, count: int) -> list[str]:
    what = (
        f"of {read} decoded" if read == count else f"of {read} decoded in the time; `contrastbench prepare` reads all"
    )
    return [f"broken: {len(bad)} {what}", *bad[:MOST_SHOWN]]
