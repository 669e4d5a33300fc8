"""Get official archives: from the raw folder, a local mirror, or the network; never opened before their hash agrees."""

import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from contrastbench.datasets.base import Adapter, Archive
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing

MIRROR_VARIABLE = "CONTRASTBENCH_MIRROR"
TIMEOUT_S = 60


def fetch(adapter: Adapter, raw: Path, mirror: Path | None = None, *, show_progress: bool = True) -> list[Path]:
    """Make sure that every archive of ``adapter`` lies verified in ``raw``; return their paths.

    Looks in ``raw``, then in ``mirror`` (or the folder that CONTRASTBENCH_MIRROR names; directly or in a
    sub-folder with the data set's name), then downloads. Raises UserError of one line for a wrong or truncated
    file, a missing mirror or a failed download; nothing half-written is left behind.
    """
    if adapter.unpacked and all((raw / name).exists() for name in adapter.unpacked):
        return []  # the reader checks the official hash of each unpacked file
    if mirror is None and os.environ.get(MIRROR_VARIABLE):
        mirror = Path(os.environ[MIRROR_VARIABLE])
    if mirror is not None and not mirror.is_dir():
        raise UserError(f"mirror {mirror}: no such folder")
    return [_fetch_one(adapter.name, archive, raw, mirror, show_progress) for archive in adapter.archives]


def _fetch_one(dataset: str, archive: Archive, raw: Path, mirror: Path | None, show_progress: bool) -> Path:
    target = raw / archive.name
    if target.is_file():
        _verify(target, archive, str(target))
        return target
    for candidate in [] if mirror is None else [mirror / dataset / archive.name, mirror / archive.name]:
        if candidate.is_file():
            with replacing(target) as temporary:
                shutil.copyfile(candidate, temporary)
                _verify(temporary, archive, str(candidate))
            return target
    with replacing(target) as temporary:
        _download(archive, temporary, show_progress)
        _verify(temporary, archive, archive.url)
    return target


def _verify(path: Path, archive: Archive, shown: str) -> None:
    digest = file_hash(path, archive.algorithm)
    if digest != archive.digest:
        raise UserError(
            f"{shown}: wrong or truncated file: {archive.algorithm} {digest} ({path.stat().st_size:,} bytes), "
            f"expected {archive.digest}; delete it and fetch again"
        )


def _download(archive: Archive, target: Path, show_progress: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with (
            urllib.request.urlopen(archive.url, timeout=TIMEOUT_S) as answer,
            target.open("wb") as file,
            Progress(*columns, disable=not show_progress) as progress,
        ):
            total = answer.headers.get("Content-Length")
            bar = progress.add_task(archive.name, total=int(total) if total else None)
            while block := answer.read(1 << 20):
                file.write(block)
                progress.advance(bar, len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{archive.url}: cannot be downloaded ({reason}); put {archive.name} into data/raw or use --mirror"
        ) from None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a verified .tar.gz or .zip into ``folder`` (made anew), refusing members that point outside it."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        try:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as zipped:
                    for name in zipped.namelist():
                        if not (temporary / name).resolve().is_relative_to(temporary.resolve()):
                            raise UserError(f"{archive}: unsafe member {name!r}")
                    zipped.extractall(temporary)
            else:
                with tarfile.open(archive) as tarred:
                    tarred.extractall(temporary, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{archive}: cannot be unpacked: {error}") from None
