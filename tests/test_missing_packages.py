"""A machine without a package registry trains and judges with few packages; docs/gpu.md says which."""

import re
import subprocess
import sys
import tomllib

from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "gpu.md").read_text(encoding="utf-8")
# What the page lists is needed; everything else that pyproject.toml names is not, and is made to be missing.
NEEDED = {"torch", "torchvision", *re.findall(r"[a-z-]+", PAGE.partition("**needed:**")[2].partition(".")[0])}
IMPORTED_AS = {"scikit-learn": "sklearn", "pyyaml": "yaml", "lightning-fabric": "lightning_fabric", "pillow": "PIL"} | {
    "torch-uncertainty-assets": "torch_uncertainty_assets",
    "torch-geometric": "torch_geometric",
}
WORKS = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
import contrastbench.cli
import contrastbench.training.loop
from contrastbench.stages import corruptions, features, few_shot, low_shot, pretrain, probe, transfer_probe, tune
from test_training import run
from pathlib import Path
method, log = run("simclr", Path("never-written"), epochs=1)
print(log.steps)
"""


def dependencies() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}


def test_training_and_judging_work_with_the_packages_that_the_page_lists():
    missing = sorted(IMPORTED_AS.get(name, name) for name in dependencies() - NEEDED)
    assert {
        "foolbox",
        "dvc",
        "snakemake",
        "plotly",
        "pretty_midi",
        "mlxtend",
        "lightning_fabric",
        "grakel",
        "torch_geometric",
    } <= set(missing)
    assert dependencies() >= NEEDED
    paths = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r})\n"
    code = paths + WORKS.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3"]
