"""A project of the least size in which every stage of the pipeline has run, by its own command."""

import shutil
from pathlib import Path

import numpy as np
from audio_sets import about, tones
from conftest import REPOSITORY
from small_project import small_grid
from typer.testing import CliRunner
from uamix_cases import SIZES

from contrastbench.cli import app
from contrastbench.datasets.base import Split
from contrastbench.datasets.graph_arrays import graphs_split
from contrastbench.datasets.store import write_prepared
from contrastbench.pipeline.grid import TARGETS, Grid
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import STAGES, Scope
from contrastbench.results.load import ALL

ATTACKS = REPOSITORY / "template/attacks"  # of the user's own, as a new project has them
NONE = {
    "foolbox": 0,
    "minimal": 0,
    "decision": 0,
    "autoattack": 0,
    "autoattack_tuned": 0,
    "square": 0,
    "convergence": 7,
}
ON_SOUND = {"instruments": ["instruments", "esc50"]}
CHANGES = {
    "plugins": ["attacks"],
    "unremix": {
        "methods": ["pixels", "simclr", "unremix-exp"],
        "seeds": [0, 1],
        "ablation": [],
        "transfer": [{"train": "digits", "probe": "mnist5k"}],
        "training": {"max_steps": 4},
    },
    "swaro": {
        "methods": ["swaro", "supervised"],
        "transfer": [{"train": "digits", "probe": "mnist5k"}],
        "ablation": [],
        "cost": [],
        "training": {"max_steps": 4},
        "probe": {"l2_grid": [0.1, 1.0], "low_label_shots": [5], "low_label_draws": 2},
        "own_attacks": {"random_corners": {"eps": [0.1], "tries": 2}},
        "robustness": {
            "images": NONE | {"gradient": 7, "transfer": 7},
            "heads": ["slf", "alf"],
            "l2_grid": [0.1],
            "alf": {"epochs": 1, "max_examples": 64},
        },
    },
    "uamix": SIZES
    | {
        "ablation": [],
        "few_shot": {
            "datasets": ON_SOUND,
            "way": 3,
            "shots": [1, 2],
            "episodes": 20,
            "class_of": {"instruments": "y"},
            "classifiers": ["centroid", "linear"],
        },
        "low_shot": {"datasets": ON_SOUND, "shots": [1, 2], "draws": 2},
        "audio_attack": {"datasets": ON_SOUND, "segments": 6, "steps": 2},
    },
    "graphs": {
        "methods": ["histogram", "wl-kernel", "random", "graphcl-simclr", "graphcl-unremix", "infograph"],
        "ablation": [],
        "batches": {"mutag": 10},
        "diagnostics": {"batches": 2},
        "folds": {"outer": 2, "inner": 2, "strengths": [0.1, 10.0]},
        "inductive": {},
        "probe": {"l2_grid": [0.1, 1.0], "low_label_shots": [2], "low_label_draws": 2, "knn_neighbours": 3},
    },
}


def finish(folder: Path) -> Grid:
    """Run every stage in ``folder``, which must be the working directory."""
    shutil.copytree(ATTACKS, folder / "attacks")
    grid = small_grid(folder, CHANGES)
    draw = np.random.default_rng(0)
    pictures = {
        split: Split(draw.integers(0, 256, (60, 6, 6, 1)).astype(np.uint8), np.arange(60) % 10)
        for split in ("train", "validation", "test")
    }
    facts = about("mnist5k", "image", tuple("0123456789"))
    write_prepared(grid.layout.prepared("mnist5k"), facts, pictures, "as made")
    for number, name in enumerate(("instruments", "esc50")):
        sound = {split: tones(8, 3 * number + at) for at, split in enumerate(("train", "validation", "test"))}
        facts = about(name, classes=("low", "middle", "high"))
        write_prepared(grid.layout.prepared(name), facts, sound, "as made")
        command(f"spectrograms uamix {name} --preset small")
    facts = about("mutag", "graph", ("star", "ring"))
    write_prepared(grid.layout.prepared("mutag"), facts, {"train": rings_and_stars()}, "as made")
    command("prepare digits")
    for stage in STAGES.values():
        if stage.leaves or stage.rows:
            for job in every_job(grid, stage.name):
                command(command_of(stage.name, job))
    return grid


def rings_and_stars() -> Split:
    """Thirty graphs of 4 to 9 nodes with two labels, half of them rings and half stars."""
    draw, graphs, ends = np.random.default_rng(0), [], []
    for number in range(30):
        first, size = len(graphs), int(draw.integers(4, 10))
        graphs += size * [number]
        ends += [(first + node, first + ((node + 1) % size if number % 2 else 0)) for node in range(size)]
    labels = draw.integers(0, 2, len(graphs))
    return graphs_split("rings and stars", ("star", "ring"), np.arange(30) % 2, *map(np.array, (graphs, ends)), labels)


def every_job(grid: Grid, stage: str) -> list[Job]:
    """The jobs of a stage that any target of any track asks for, as they are run, each once."""
    found = [job for track in grid.params.tracks for target in TARGETS for job in grid.jobs(stage, track, target)]
    return list(dict.fromkeys(grid.run_as(stage, job) for job in found))


def command_of(stage: str, job: Job) -> str:
    """What makes the outputs of a job."""
    words = [word for word in job.folder.parts if word != ALL]
    assert (job.method == ALL) == (STAGES[stage].scope is Scope.METHODS)
    return " ".join([STAGES[stage].command, *words, "--preset small"])


def command(line: str) -> str:
    """Run a command of contrastbench; what it prints."""
    answer = CliRunner().invoke(app, line.split())
    assert answer.exit_code == 0, (line, answer.output, answer.exception)
    return answer.output
