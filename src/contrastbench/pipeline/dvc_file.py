"""``dvc.yaml``, rendered from the table of steps, so that DVC and Snakemake cannot drift apart."""

from pathlib import Path
from typing import Any

import yaml

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.params.base import read_yaml
from contrastbench.params.files import files_in
from contrastbench.params.root import DEFAULT
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.steps import PipelineStep, steps

DVC_FILE = Path("dvc.yaml")
HEADER = """\
# Rendered by `contrastbench dvc-file`, with `--preset` for another preset than the default; do not edit.
# Snakemake runs the work and DVC records it: docs/dvc.md.
"""


def dvc_grid() -> Grid:
    """The grid of the preset that ``dvc.yaml`` here is of; of the default where there is none."""
    declared = read_yaml(DVC_FILE).get("vars") if DVC_FILE.is_file() else None
    match declared:
        case [{"preset": str(preset)}]:
            return Grid(preset)
    return Grid()


def render(grid: Grid) -> str:
    """The text of ``dvc.yaml``."""
    # A change of meaning in the code reaches a step through its fingerprint; other edits stop here. An installed
    # package lies elsewhere on every machine: there its fingerprints are always looked at.
    code = Path("src/contrastbench")
    fingerprint: dict[str, Any] = {
        "cmd": "contrastbench fingerprint",
        **({"deps": [str(code)]} if (grid.root / code).is_dir() else {"always_changed": True}),
        "outs": [{"runs/fingerprints": {"persist": True}}],
    }
    preset = {} if grid.preset == DEFAULT else {"vars": [{"preset": grid.preset}]}
    files = params_files(grid)
    stages = {"fingerprint": fingerprint} | {step.name: _stage(step, files) for step in steps(grid)}
    return HEADER + yaml.safe_dump(preset | {"stages": stages}, sort_keys=False, width=120)


def params_files(grid: Grid) -> dict[str, dict[str, Any]]:
    """What the project's own files of parameters set, by their paths from its folder."""
    own = [file for file in files_in(grid.root, grid.preset) if not file.shipped]
    return {Path(file.name).relative_to(grid.root).as_posix(): file.content for file in own}


def _stage(step: PipelineStep, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The entry of one step. DVC refuses keys that a file of parameters does not set; ``files`` are what these hold."""
    set_in = {path: [key for key in step.keys if _is_set(content, key)] for path, content in files.items()}
    stage: dict[str, Any] = {
        "cmd": f"contrastbench run {step.name}",
        "deps": [str(path) for path in (*step.code, *step.inputs)],
        "params": [*set_in.pop("params.yaml"), *({path: keys} for path, keys in set_in.items() if keys)],
    }
    # Kept while a stage runs again: Snakemake decides which of the files in them are stale.
    outs = [{str(path): {"persist": True}} for path in step.folders]
    outs += [{str(path): {"cache": False, "persist": True}} for path in step.tracked if path not in step.plots]
    if outs:
        stage["outs"] = outs
    if step.metrics:
        stage["metrics"] = [{str(path): {"cache": False, "persist": True}} for path in step.metrics]
    if step.plots:
        axes = {"x": "mean", "y": "method", "template": "bar_horizontal"}
        stage["plots"] = [{str(path): {"cache": False, "persist": True} | axes} for path in step.plots]
    return stage


def _is_set(content: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def write_dvc_file(grid: Grid) -> bool:
    """Write ``dvc.yaml`` where it is absent or stale; True when it was written."""
    text = render(grid)
    if DVC_FILE.is_file() and DVC_FILE.read_text(encoding="utf-8") == text:
        return False
    write_text(DVC_FILE, text)
    return True


def require_fitting_dvc_file(grid: Grid) -> None:
    """Refuse to go on with a ``dvc.yaml`` that does not fit the parameters of its preset."""
    if not DVC_FILE.is_file() or DVC_FILE.read_text(encoding="utf-8") != render(grid):
        files = " and ".join(params_files(grid))
        option = "" if grid.preset == DEFAULT else f" --preset {grid.preset}"
        raise UserError(f"{DVC_FILE}: does not fit {files} (methods, data sets); run `contrastbench dvc-file{option}`")
