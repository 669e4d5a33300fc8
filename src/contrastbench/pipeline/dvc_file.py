"""``dvc.yaml``, rendered from the table of steps, so that DVC and Snakemake cannot drift apart."""

from pathlib import Path
from typing import Any

import yaml

from contrastbench.errors import UserError
from contrastbench.files import write_text
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.steps import PipelineStep, steps

DVC_FILE = Path("dvc.yaml")
HEADER = """\
# Rendered from params.yaml by `contrastbench dvc-file`; do not edit.
# Snakemake runs the work and DVC records it: docs/architecture.md says how they share it.
"""


def render(grid: Grid) -> str:
    """The text of ``dvc.yaml``."""
    # A change of meaning in the code reaches a step through its fingerprint; other edits stop here.
    fingerprint: dict[str, Any] = {
        "cmd": "contrastbench fingerprint",
        "deps": ["src/contrastbench"],
        "outs": [{"runs/fingerprints": {"persist": True}}],
    }
    stages = {"fingerprint": fingerprint} | {step.name: _stage(step) for step in steps(grid)}
    return HEADER + yaml.safe_dump({"stages": stages}, sort_keys=False, width=120)


def _stage(step: PipelineStep) -> dict[str, Any]:
    stage: dict[str, Any] = {
        "cmd": f"contrastbench run {step.name}",
        "deps": [str(path) for path in (*step.code, *step.inputs)],
        "params": list(step.keys),
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


def write_dvc_file(grid: Grid) -> bool:
    """Write ``dvc.yaml`` where it is absent or stale; True when it was written."""
    text = render(grid)
    if DVC_FILE.is_file() and DVC_FILE.read_text(encoding="utf-8") == text:
        return False
    write_text(DVC_FILE, text)
    return True


def require_fitting_dvc_file(grid: Grid) -> None:
    """Refuse to go on with a ``dvc.yaml`` that does not fit params.yaml."""
    if not DVC_FILE.is_file() or DVC_FILE.read_text(encoding="utf-8") != render(grid):
        raise UserError(f"{DVC_FILE}: does not fit params.yaml (methods, data sets); run `contrastbench dvc-file`")
