"""Get official archives from the raw folder, a local mirror or the network; none is opened before its hash matches."""

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from contrastbench.datasets.base import Adapter, Archive
from contrastbench.datasets.scratch import scratch_folder
from contrastbench.errors import UserError
from contrastbench.files import file_hash, replacing

MIRROR_VARIABLE = "CONTRASTBENCH_MIRROR"
TIMEOUT_S = 60
BLOCK = 1 << 20


def fetch(adapter: Adapter, raw: Path, mirror: Path | None = None, *, show_progress: bool = True) -> list[Path]:
    """Make sure that every archive of ``adapter`` is in ``raw`` and verified; return their paths.

    Looks in ``raw``, then in ``mirror`` (or the folder named by CONTRASTBENCH_MIRROR; directly or in a
    sub-folder named after the data set), then downloads. Raises a one-line UserError for a wrong or truncated
    file, a missing mirror or a failed download; nothing half-written is left behind.
    """
    if adapter.unpacked and all((raw / name).is_dir() for name in adapter.unpacked):
        return [raw / name for name in adapter.unpacked]  # the reader checks the official hash of each file
    if mirror is None and os.environ.get(MIRROR_VARIABLE):
        mirror = Path(os.environ[MIRROR_VARIABLE])
    if mirror is not None and not mirror.is_dir():
        raise UserError(f"mirror {mirror}: no such folder")
    wanted = [_available(adapter.name, archive, raw, mirror) for archive in adapter.archives]
    return [_fetch_one(adapter.name, archive, raw, mirror, show_progress) for archive in wanted]


def _available(dataset: str, archive: Archive, raw: Path, mirror: Path | None) -> Archive:
    """The archive or the first of its alternatives that needs no download; the archive itself where there is none."""
    candidates = (archive, *archive.alternatives)
    return next((c for c in candidates if (raw / c.name).is_file() or _in_mirror(mirror, dataset, c)), archive)


def _in_mirror(mirror: Path | None, dataset: str, archive: Archive) -> Path | None:
    if mirror is None:
        return None
    return next((path for path in (mirror / dataset / archive.name, mirror / archive.name) if path.is_file()), None)


def _fetch_one(dataset: str, archive: Archive, raw: Path, mirror: Path | None, show_progress: bool) -> Path:
    target = raw / archive.name
    if target.is_file():
        _verify(target, archive, f"{target}: delete it and fetch again")
        return target
    candidate = _in_mirror(mirror, dataset, archive)
    if candidate is not None:
        with replacing(target) as temporary:
            shutil.copyfile(candidate, temporary)
            _verify(temporary, archive, f"{candidate}: repair the mirror")
        return target
    if archive.url is None:
        raise UserError(f"{target}: no such file, and it cannot be downloaded; put it there or use --mirror")
    with replacing(target) as temporary:
        _download(archive.url, archive, temporary, show_progress)
        _verify(temporary, archive, f"{archive.url}: try again, or put the official {archive.name} into {raw}")
    return target


def _verify(path: Path, archive: Archive, advice: str) -> None:
    size = path.stat().st_size
    if archive.size is not None and size < archive.size:
        raise UserError(f"truncated file ({size:,} of {archive.size:,} bytes): {advice}")
    if archive.digest is None:
        return  # none is published; the reader checks the contents
    digest = file_hash(path, archive.algorithm)
    if digest != archive.digest:
        raise UserError(f"wrong file ({archive.algorithm} {digest}, official {archive.digest}): {advice}")


def _download(url: str, archive: Archive, target: Path, show_progress: bool) -> None:
    text, bar = TextColumn("{task.description}"), BarColumn()
    columns = (text, bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,
            target.open("wb") as file,
            Progress(*columns, console=Console(stderr=True), disable=not show_progress) as progress,
        ):
            length = answer.headers.get("Content-Length")
            task = progress.add_task(archive.name, total=int(length) if length else archive.size)
            while block := answer.read(BLOCK):
                file.write(block)
                progress.advance(task, len(block))
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{url}: cannot be downloaded ({reason}); put {archive.name} into the raw folder or use --mirror"
        ) from None


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Yield a folder with the contents of a verified .tar.gz or .zip (``datasets/scratch.py``); removed at the end.

    A member that points outside the folder, a broken archive or a full disk is a UserError.
    """
    with scratch_folder() as folder:
        try:
            if archive.suffix == ".zip":
                _extract_zip(archive, folder)
            else:
                _extract_tar(archive, folder)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise UserError(f"{archive}: cannot be unpacked: {error}") from None
        yield folder


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tarred:
        members = tarred.getmembers()
        for member in members:
            _refuse_outside(archive, folder, member.name)
            if not (member.isfile() or member.isdir()):
                raise UserError(f"{archive}: cannot be unpacked: {member.name!r} is neither a file nor a folder")
        # Python before 3.11.4 (Debian 12 has 3.11.2) knows no filter; from 3.14 on, this one is the default.
        known = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tarred.extractall(folder, members, **known)  # type: ignore[arg-type]


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            _refuse_outside(archive, folder, name)
        zipped.extractall(folder)


def _refuse_outside(archive: Path, folder: Path, name: str) -> None:
    """No official archive has such a member; zipfile would silently write it under another name."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{archive}: cannot be unpacked: {name!r} points outside the archive")
