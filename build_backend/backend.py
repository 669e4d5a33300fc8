"""Setuptools' build backend, whose wheels, editable ones too, also hold ``_contrastbench_imports`` and its .pth file.

Python runs the lines of .pth files that begin with ``import`` whenever it starts, if they lie in site-packages, which
setuptools itself puts nothing but packages into.
"""

import base64
import hashlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

MODULE = Path(__file__).with_name("_contrastbench_imports.py")
ADDED = {MODULE.name: MODULE.read_bytes(), f"{MODULE.stem}.pth": f"import {MODULE.stem}\n".encode()}


def build_wheel(directory, settings=None, metadata=None):
    """A wheel in ``directory``; its name."""
    return _extended(directory, build_meta.build_wheel(directory, settings, metadata))


def build_editable(directory, settings=None, metadata=None):
    """An editable wheel in ``directory``; its name."""
    return _extended(directory, build_meta.build_editable(directory, settings, metadata))


def _extended(directory, name):
    path = Path(directory, name)
    with ZipFile(path) as wheel:
        files = {each: wheel.read(each) for each in wheel.filelist}
    record = next(each for each in files if each.filename.endswith(".dist-info/RECORD"))
    files[record] = "".join(map(_line, *zip(*ADDED.items(), strict=True))).encode() + files[record]
    with ZipFile(path, "w", ZIP_DEFLATED) as wheel:
        for each, content in (*ADDED.items(), *files.items()):
            wheel.writestr(each, content)
    return name


def _line(name, content):
    """What a wheel's RECORD says of a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(content)}\n"
