"""Stage ``report``: one offline page with every table and figure of a preset."""

from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.plan import plan_against_actual
from contrastbench.pipeline.steps import steps
from contrastbench.reporting.report import build_report
from contrastbench.results.load import Loaded


def report(loaded: Loaded, preset: str) -> str:
    """The page, of the rows and of what the preset's runs have left."""
    return build_report(loaded, preset, step_graph(preset), plan=plan_against_actual(preset))


def step_graph(preset: str) -> dict[str, list[str]]:
    """Each step of the pipeline with the steps whose outputs it reads."""
    found = steps(Grid(preset))
    outputs = {step.name: {*step.files, *step.folders, *step.tracked} for step in found}
    return {
        step.name: [
            name
            for name, files in outputs.items()
            if name != step.name and any(path in files or not files.isdisjoint(path.parents) for path in step.inputs)
        ]
        for step in found
    }
