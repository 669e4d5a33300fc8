"""Prepared data, checked against their ``meta.json`` and the parameters.

Snakemake knows ``meta.json`` alone, and DVC takes a folder as it finds it: neither would miss an array.
"""

from collections.abc import Iterable
from pathlib import Path

from contrastbench.datasets.locate import located
from contrastbench.datasets.store import open_prepared, verify_prepared
from contrastbench.errors import UserError
from contrastbench.params.graph_track import GraphTrack
from contrastbench.params.images import AugmentParams
from contrastbench.params.plugins import file_of
from contrastbench.params.root import declarations
from contrastbench.pipeline.by_hand import check_by_hand
from contrastbench.pipeline.enough import check_prepared
from contrastbench.pipeline.grid import Grid


def data_folders(grid: Grid) -> list[Path]:
    """The folders of arrays that the preset reads, those that are there."""
    sound = [
        grid.layout.spectrograms(track, n) for track in grid.params.tracks for n in grid.spectrogram_datasets(track)
    ]
    folders = [*map(grid.layout.prepared, grid.datasets()), *sound]
    return [folder for folder in folders if (folder / "meta.json").is_file()]


def check_data(grid: Grid) -> None:
    """Refuse data of which an array is missing, cut off or of another shape, and parameters that do not fit them.

    So are those that a command made of other files or by other parameters than now.

    Reads no more than every array's first bytes: cheap enough for each time that the graph is read.
    """
    for name in grid.params.datasets:
        check_declarations(grid, name)
    check_by_hand(grid)
    present = data_folders(grid)
    for folder in present:
        open_prepared(folder)
    for name in grid.datasets():
        declared = grid.params.datasets.get(name)
        if (declared or file_of("data set", name)) and grid.layout.prepared(name) in present:
            path = None if declared is None else located(declared, grid.root)
            check_prepared(grid, name, open_prepared(grid.layout.prepared(name)), path)
    for track in grid.params.tracks:
        for dataset in grid.track(track).datasets:
            if grid.layout.prepared(dataset) in present:
                check_image_size(grid, track, dataset)
                check_batch_of_graphs(grid, track, dataset)


def check_declarations(grid: Grid, dataset: str) -> None:
    """Refuse a data set that two presets declare differently: they would share one folder of prepared data."""
    (first, content), *others = declarations(dataset, grid.root).items() or [("", None)]
    for other, differs in others:
        if differs != content:
            raise UserError(
                f"presets {first} and {other} declare the data set {dataset!r} differently, and share what is prepared "
                "of it; give one of them another name"
            )


def check_batch_of_graphs(grid: Grid, track: str, dataset: str) -> None:
    """Refuse a batch that is larger than the set of graphs that ``batches`` gives it for."""
    section = grid.track(track)
    if not isinstance(section, GraphTrack) or dataset not in section.batches:
        return
    size = section.batches[dataset]
    count = open_prepared(grid.layout.prepared(dataset)).meta.splits["train"].count
    if size > count:
        raise UserError(f"{track}.batches.{dataset} = {size}: {dataset} has {count} graphs; at most {count}")


def check_image_size(grid: Grid, track: str, dataset: str) -> None:
    """Refuse a blur that reaches beyond the reflected border of a data set's images."""
    augment = getattr(grid.track(track), "augment", None)
    if not isinstance(augment, AugmentParams) or not augment.blur_probability:
        return
    side = min(open_prepared(grid.layout.prepared(dataset)).x("train").shape[1:3])
    if augment.blur_kernel // 2 >= side:
        raise UserError(
            f"{track}.augment.blur_kernel = {augment.blur_kernel}: images of {dataset} have {side} pixels a side, "
            f"which take at most {2 * side - 1}"
        )


def verify_data(folders: Iterable[Path]) -> None:
    """Refuse data whose contents have changed since they were made; 40 MB take about 0.03 s."""
    for folder in dict.fromkeys(folders):
        verify_prepared(open_prepared(folder))
