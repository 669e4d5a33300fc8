"""What wheels hold besides the package, and that torchvision can be imported by programs that have not imported it."""

import os
import subprocess
import sys
import tomllib
from base64 import urlsafe_b64decode
from hashlib import sha256
from importlib.metadata import PathDistribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import REPOSITORY

FOLDER = REPOSITORY / "build_backend"
WHEEL = "toy-1-py3-none-any.whl"


def python(code: str, *path: Path, options: tuple[str, ...] = (), code_of_exit: int = 0) -> str:
    """What a fresh interpreter prints that finds modules in the folders of ``path``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, *options, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == code_of_exit, done.stderr
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder like site-packages, into which a wheel of the backend was unpacked."""
    monkeypatch.syspath_prepend(FOLDER)
    import backend

    with ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr("toy.py", "")
        wheel.writestr("toy-1.dist-info/RECORD", "toy.py,,0\n")
    assert backend._extended(tmp_path, WHEEL) == WHEEL
    with ZipFile(tmp_path / WHEEL) as wheel:
        wheel.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_the_backend_is_the_one_that_builds():
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]
    assert (REPOSITORY / built["backend-path"][0] / f"{built['build-backend']}.py").samefile(FOLDER / "backend.py")


def test_wheels_keep_what_they_had_and_record_what_was_added(installed):
    files = {str(file): file for file in PathDistribution(installed / "toy-1.dist-info").files or ()}
    assert "toy.py" in files
    for name in ("_contrastbench_imports.py", "_contrastbench_imports.pth"):
        content, told = (installed / name).read_bytes(), files[name]
        assert told.size == len(content) and told.hash is not None
        assert urlsafe_b64decode(told.hash.value + "=") == sha256(content).digest()


def test_python_loads_it_when_it_starts(installed):
    code = f"import site, sys; site.addsitedir({str(installed)!r}); print('_contrastbench_imports' in sys.modules)"
    assert python(code, options=("-S",)) == "True"


TOY = """
import pathlib, sys
count = pathlib.Path(__file__).with_name("count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
from torchvision import ops
if not hasattr(sys, "declared"):
    raise {error}
"""


@pytest.fixture
def toys(tmp_path):
    """A package torchvision that fails until a module contrastbench.torch_compat has been imported."""

    def make(error: str) -> Path:
        for name, content in (
            ("torchvision/__init__.py", TOY.format(error=error)),
            ("torchvision/ops.py", ""),
            ("contrastbench/__init__.py", ""),
            (
                "contrastbench/torch_compat.py",
                "import sys; sys.declared = True; assert 'torchvision.ops' not in sys.modules",
            ),
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return make


IMPORT = "import sys, _contrastbench_imports; {}; print('contrastbench' in sys.modules, open({!r}).read())"


@pytest.mark.parametrize(
    "error", ["RuntimeError('operator torchvision::nms does not exist')", "OSError('libc10_cuda.so')"]
)
def test_a_failed_import_is_made_again_with_what_it_lacks(toys, error):
    folder = toys(error)
    code = IMPORT.format("import torchvision; from torchvision import ops", str(folder / "torchvision/count"))
    assert python(code, folder, FOLDER) == "True xx"


def test_nothing_happens_where_the_import_works(toys):
    folder = toys("RuntimeError")
    code = IMPORT.format("sys.declared = True; import torchvision", str(folder / "torchvision/count"))
    assert python(code, folder, FOLDER) == "False x"


def test_other_errors_and_what_is_not_there_are_told_as_ever(toys):
    folder = toys("ValueError('another')")
    assert python("import _contrastbench_imports, torchvision", folder, FOLDER, code_of_exit=1) == "ValueError: another"
    folder = toys("RuntimeError('no operator')")
    (folder / "contrastbench/torch_compat.py").write_text("raise ImportError")
    told = python("import _contrastbench_imports, torchvision", folder, FOLDER, code_of_exit=1)
    assert told == "RuntimeError: no operator"
    code = "import _contrastbench_imports; from importlib.util import find_spec; print(find_spec('torchvision'))"
    assert python(code, FOLDER, options=("-S",)) == "None"


def test_only_a_small_module_is_loaded():
    code = "import sys; before = {*sys.modules}; import _contrastbench_imports; print(*{*sys.modules} - before)"
    assert python(code, FOLDER, options=("-S",)) == "_contrastbench_imports"


def test_torchvision_torchaudio_and_timm_can_be_imported():
    """By a program that never imports contrastbench; on a CPU-only torch that is what the rest is for."""
    code = "import _contrastbench_imports, timm, torchaudio, torchvision; print(torchvision.ops.box_area.__name__)"
    assert python(code, FOLDER, REPOSITORY / "src") == "box_area"
