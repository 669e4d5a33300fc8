"""Shared test fixtures."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests expect a CPU. On a machine with a GPU, Foolbox would move their models there, and ``auto`` would mean it.
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder of real archives (see data/README.md); tests marked ``realdata`` skip where there is none."""
    folder = Path(os.environ.get("CONTRASTBENCH_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which every stage has run (tests/finished_project.py); to be copied before it is changed."""
    from finished_project import finish  # what it needs takes seconds to import

    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finish(folder)
    return folder
