"""The package as it is installed elsewhere: a wheel, no repository, and a project in which CONTRIBUTING is followed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from test_contributing import OUTSIDE, apply_blocks

from contrastbench import __version__
from contrastbench.datasets.store import open_prepared
from contrastbench.params.root import presets
from contrastbench.results.rows import unpack_correct

BUILT_FROM = ("src", "build_backend", "template", "presets", "profiles")  # folders, beside the files at the top
PROFILE = "Using workflow specific profile profiles/default for setting default command line arguments.\n"
PICTURES = {"train": 30, "test": 12}  # of each class
DATASET, METHOD, PRESET = "mypictures", "barlow-twins-convnext", "mine"
ROWS = f"results/rows/{PRESET}/{{}}/swaro/{DATASET}/{METHOD}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy: building leaves folders behind."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, source)
        elif path.name in BUILT_FROM:
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("*.egg-info"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = built.iterdir()
    return found


class Installed:
    """An installed wheel, and a folder in which its commands run."""

    def __init__(self, wheel: Path, site: Path, folder: Path) -> None:
        options = ("--quiet", "--no-deps", "--no-index", "--target", str(site))
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, capture_output=True)
        path = os.pathsep.join([str(site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        threads = {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        self.environment = os.environ | threads | {"PATH": path, "PYTHONPATH": str(site)}
        self.site, self.folder = site, folder

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, text=True, capture_output=True)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def rows(self, stage: str) -> list[dict]:
        files = sorted((self.folder / ROWS.format(stage)).glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def draw_pictures(raw: Path) -> None:
    """PNG files of 40 x 30 pixels: cats are reddish, dogs bluish, with noise and a bright spot somewhere."""
    generator = np.random.default_rng(0)
    for split, count in PICTURES.items():
        for name, channel in (("cat", 0), ("dog", 2)):
            folder = raw / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                x = generator.integers(0, 100, (30, 40, 3))
                x[..., channel] += 60
                top, left = generator.integers(0, 22), generator.integers(0, 32)
                x[top : top + 8, left : left + 8] += 90
                Image.fromarray(x.astype(np.uint8)).save(folder / f"{number:02}.png")


def draw_graphs(raw: Path) -> None:
    """Two triangles and a path between them, in the layout of the TU Dortmund collection."""
    raw.mkdir(parents=True)
    edges = [(1, 2), (2, 3), (3, 1), (4, 5), (6, 7), (7, 8), (8, 6)]
    files = {
        "A": [f"{first}, {second}" for pair in edges for first, second in (pair, pair[::-1])],
        "graph_indicator": [1, 1, 1, 2, 2, 3, 3, 3],
        "graph_labels": [1, 0, 1],
        "node_labels": [0, 0, 1, 2, 2, 1, 0, 0],
    }
    for name, lines in files.items():
        (raw / f"MYGRAPHS_{name}.txt").write_text("\n".join(map(str, lines)) + "\n")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A project in which the guide's first part was followed, from ``contrastbench new`` on."""
    found = Installed(wheel, tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere"))
    making, running = re.findall(r"^```sh\n(.*?)^```$", OUTSIDE, re.MULTILINE | re.DOTALL)
    new, enter = making.splitlines()
    assert new.startswith("contrastbench new ") and enter == f"cd {new.split()[-1]}"
    found.run(*shlex.split(new))
    found.folder /= new.split()[-1]
    assert len(apply_blocks(OUTSIDE, found.folder)) == 5
    shown = "data/raw/mypictures/train"
    told = found.run("contrastbench", "prepare", DATASET, code=2)
    assert told == f"contrastbench: {shown}: no such folder; expected {shown}/CLASS/PICTURE\n"
    draw_pictures(found.folder / "data/raw" / DATASET)
    draw_graphs(found.folder / "data/raw/mygraphs/MYGRAPHS")
    for line in running.splitlines():
        found.run(*shlex.split(line))
    return found


def test_the_wheel_brings_what_a_project_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = next(name for name in names if name.endswith("METADATA")).removesuffix("METADATA")
        for name in (
            "params.yaml",
            "profiles/default/config.yaml",
            *(f"presets/{each}.yaml" for each in presets(REPOSITORY)[1:]),
        ):
            assert archive.read(f"contrastbench/defaults/{name}") == (REPOSITORY / name).read_bytes()
    assert {f"{about}licenses/{name}" for name in ("LICENSE", "CITATION.cff")} < names
    assert {"contrastbench/reporting/templates/report.html", "contrastbench/reporting/published.csv"} < names
    assert {"_contrastbench_imports.py", "_contrastbench_imports.pth"} < names  # so that torchvision can be imported
    assert not [name for name in names if name.endswith(".pyc") or "tests" in name]


def test_nothing_of_the_repository_is_read(installed: Installed) -> None:
    code = "import contrastbench, contrastbench.params.files as f; print(contrastbench.__file__, f.shipped())"
    found = installed.run("python", "-c", code).split()
    assert found == [str(installed.site / "contrastbench" / name) for name in ("__init__.py", "defaults")]
    assert installed.run("contrastbench", "--version") == f"contrastbench {__version__}\n"


def test_the_data_are_prepared_as_they_lie(installed: Installed) -> None:
    data = open_prepared(installed.folder / "data/prepared" / DATASET)
    counts = {split: facts.count for split, facts in data.meta.splits.items()}
    assert counts == {"train": 54, "validation": 6, "test": 24} and data.meta.classes == ["cat", "dog"]
    x, y = data.x("test"), data.y("test")
    assert x.shape == (24, 32, 32, 3) and x.dtype == np.uint8
    np.testing.assert_array_equal(x[..., 0].mean(axis=(1, 2)) < x[..., 2].mean(axis=(1, 2)), y == 1)


def test_graphs_are_prepared_as_they_lie(installed: Installed) -> None:
    installed.run("contrastbench", "prepare", "mygraphs")
    data = open_prepared(installed.folder / "data/prepared/mygraphs")
    assert data.meta.classes == ["stands", "runs"] and data.meta.splits.keys() == {"train"}
    assert data.y("train").tolist() == [1, 0, 1] and data.x("train").tolist() == [0, 0, 1, 2, 2, 1, 0, 0]  # type: ignore[union-attr]
    assert [data.column("train", name).tolist() for name in ("offsets", "edge_offsets")] == [
        [0, 3, 5, 8],
        [0, 6, 8, 14],
    ]


def test_the_method_learns_and_is_judged(installed: Installed) -> None:
    history = installed.folder / f"runs/{PRESET}/pretrain/swaro/{DATASET}/{METHOD}/0/history.csv"
    header, *entries = history.read_text().splitlines()
    losses = [float(line.split(",")[header.split(",").index("loss")]) for line in entries]
    assert losses[-1] < 0.8 * losses[0]
    rows = installed.rows("probe")
    assert {row["protocol"]["family"] for row in rows} == {"linear", "knn", "low-label"}
    data_hash = open_prepared(installed.folder / "data/prepared" / DATASET).meta.hash
    assert {row["base"] for row in rows} == {"barlow-twins"}
    for row in rows:
        named = [row[key] for key in ("track", "dataset", "method", "preset", "seed", "data_hash")]
        assert named == ["swaro", DATASET, METHOD, PRESET, 0, data_hash]
    assert {row["protocol"]["family"]: row["value"] for row in rows}["linear"] >= 0.9


def test_the_attack_breaks_what_a_step_can_break_and_is_shown(installed: Installed) -> None:
    (clean,) = [row for row in installed.rows("attack") if row["protocol"]["family"] == "clean"]
    small, large = sorted(installed.rows("own_attack"), key=lambda row: row["protocol"]["eps"])
    for row, eps in ((small, 8 / 255), (large, 48 / 255)):
        assert row["protocol"] == {
            "family": "own-attack",
            "attack": "random-step",
            "head": "slf",
            "norm": "linf",
            "eps": eps,
        }
        assert row["metric"] == "robust-top1" and row["n"] == 24 and "failed_checks" not in row["detail"]
        assert row["value"] == unpack_correct(row["correct"], 24).mean()
    assert clean["value"] >= small["value"] >= large["value"] and clean["value"] > large["value"]
    table = (installed.folder / f"results/tables/{PRESET}/swaro.md").read_text(encoding="utf-8")
    own = table[table.index("Own attacks") :]
    assert "own-random-step-linf@0.1882" in own and f"`{METHOD}`" in own


def test_a_plugin_that_fails_stops_a_run_with_one_line(installed: Installed) -> None:
    broken = installed.folder / "methods/broken.py"
    broken.write_text("def f(:\n")
    said = installed.run("snakemake", "--cores", "1", "--config", f"preset={PRESET}", code=1)
    broken.unlink()
    assert said == f"{PROFILE}contrastbench: methods/broken.py:1: cannot be read as Python: invalid syntax\n"


def test_a_folder_without_parameters_is_one_line(installed: Installed, tmp_path: Path) -> None:
    shutil.copy(installed.folder / "Snakefile", tmp_path)
    command = ("snakemake", "--cores", "1", "--directory", str(tmp_path), "--snakefile", str(tmp_path / "Snakefile"))
    said = installed.run(*command, code=1)
    assert (
        said
        == f"{PROFILE}contrastbench: params.yaml: no such parameter file; `contrastbench new FOLDER` makes a project\n"
    )
