"""What jobs cost on this machine, as the package ships it for first estimates elsewhere (`contrastbench plan`).

    python benchmarks/reference_costs.py [FOLDER] [--tiny]

Reads what Snakemake measured of every preset in FOLDER (the working directory if not given), where they have run, and
what their jobs left on disk; writes src/contrastbench/pipeline/reference.json. Nothing else should run meanwhile.
With --tiny nothing is written.
"""

import argparse
import os
import platform
import statistics
from dataclasses import replace
from pathlib import Path

from contrastbench.files import write_text
from contrastbench.params.root import presets
from contrastbench.pipeline.calibration import calibration_s
from contrastbench.pipeline.estimate import Measured, Task
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.plan import bytes_in, measured_in, prepared_shape
from contrastbench.pipeline.reference import NAME, Reference, as_json

TARGET = Path(__file__).resolve().parent.parent / "src/contrastbench/pipeline" / NAME
TRIAL = "-trial-"  # in the label of a search's trial, which costs what its method does


def main(root: Path, *, tiny: bool) -> None:
    """Write the file, or only say what it would hold."""
    alike: dict[Task, list[Measured]] = {}
    for one in measured_in(root):
        alike.setdefault(replace(one.task, name="", method=one.task.method.partition(TRIAL)[0]), []).append(one)
    jobs = [
        Measured(
            task,
            round(statistics.median(one.seconds for one in ones), 1),
            round(max(one.peak_mb for one in ones)),
            max(one.size for one in ones),
        )
        for task, ones in alike.items()
    ]
    shapes, sizes = {}, {}
    for preset in presets(root):
        grid = Grid(preset, root)
        for track in grid.params.tracks:
            for name in grid.datasets(track):
                shape = prepared_shape(root / grid.data_folder(track, name))
                if shape is not None:
                    shapes[name], sizes[name] = shape, bytes_in(root / grid.layout.prepared(name))
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    content = as_json(Reference(machine, round(calibration_s(), 5), shapes, sizes, tuple(jobs)))
    if not tiny:
        write_text(TARGET, content)
    print(f"{'not ' if tiny else ''}written: {TARGET} ({len(jobs)} jobs, {len(shapes)} data sets)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    parser.add_argument("--tiny", action="store_true", help="write nothing")
    options = parser.parse_args()
    main(options.folder, tiny=options.tiny)
