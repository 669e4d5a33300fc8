"""What robustness a training buys: tables at equal epochs and at equal cost.

Cost is what the stage ``attack`` leaves beside clean accuracy (``jobs/training_cost.py``): image passes, and seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from contrastbench.params.robustness import RobustnessParams
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.groups import Group
from contrastbench.registry import WITHOUT_ENCODER
from contrastbench.reporting.cells import Cell, cells_of, dataset_order
from contrastbench.reporting.tables import Table, table_of
from contrastbench.results.load import Loaded
from contrastbench.results.protocols import Protocol

# Families of robust accuracy, the first that there is at the main radius. Not the worst case: methods are attacked with
# more than variants are.
HEADLINES = ("apgd", "pgd")
SMALLEST_SHARE = 0.7  # of a cost, that a training must use to stand beside those that use all of it
COUNTED = (
    "A pass is one image through the encoder; without gradients it counts a third. Passes are counted on one training "
    "step of each method and multiplied by its steps; wall seconds are those that the training took, on one thread if "
    "on a CPU, beside whatever else the machine did."
)


@dataclass(frozen=True)
class Trained:
    """One method of the cost target, trained for so many epochs on one data set; numbers are means over seeds.

    line     the method or variant, whatever its length (:func:`line_of`)
    passes   images that went through the encoder in training
    seconds  of wall time
    clean, robust  its accuracies
    """

    line: str
    epochs: int
    passes: float
    seconds: float
    clean: Cell
    robust: Cell

    def name(self, budget: float | None = None) -> str:
        """For tables: the method, how long it was trained, and what that cost, in image passes or of a ``budget``."""
        cost = (
            f"{self.passes / 1e6:.2f} M passes" if budget is None else f"{100 * self.passes / budget:.0f} % of the cost"
        )
        return f"{self.line} ({self.epochs} epochs, {cost}, {self.seconds:.0f} wall seconds)"


def trainings(loaded: Loaded, track: TrackParams) -> dict[str, list[Trained]]:
    """What the rows hold of the cost target, by data set, in the order of the target."""
    suite = track.robustness
    if suite is None:
        return {}
    cells: dict[str, dict[str, list[Cell]]] = {}
    for key, cell in cells_of(loaded.where(lambda row: row.method in track.cost)).items():
        cells.setdefault(key.dataset, {}).setdefault(key.method, []).append(cell)
    found = {
        dataset: [
            trained
            for label in track.cost
            if (trained := _trained(label, track, suite, dataset, cells[dataset].get(label, [])))
        ]
        for dataset in sorted(cells, key=dataset_order)
    }
    return {dataset: trained for dataset, trained in found.items() if trained}


def cost_tables(loaded: Loaded, track: TrackParams) -> list[Table]:
    """For each data set: a table for each length that several methods share, then one for each cost.

    The costs are those of the target's first method at each of its lengths, and every method is shown at the longest
    of its own that costs no more, if that is at least ``SMALLEST_SHARE`` of it.
    """
    tables = []
    for dataset, found in trainings(loaded, track).items():
        lengths = sorted({each.epochs for each in found})
        for epochs in lengths:
            equal = [each for each in found if each.epochs == epochs]
            if len(equal) > 1:
                tables.append(_table(dataset, f"Equal epochs: {epochs}", "", {each.name(): each for each in equal}))
        for budget, longest in at_equal_cost(found, track):
            tables.append(_of_equal_cost(dataset, budget, longest, found))
    return tables


def at_equal_cost(found: list[Trained], track: TrackParams) -> list[tuple[Trained, dict[str, Trained]]]:
    """For each length of the target's first method: that training, and by line the longest that costs no more."""
    first, ascending = line_of(track.cost[0], track), sorted(found, key=lambda each: each.passes)
    return [
        (
            budget,
            {each.line: each for each in ascending if SMALLEST_SHARE <= each.passes / budget.passes <= 1},
        )
        for budget in ascending
        if budget.line == first
    ]


def _of_equal_cost(dataset: str, budget: Trained, longest: Mapping[str, Trained], found: list[Trained]) -> Table:
    absent = [line for line in dict.fromkeys(each.line for each in found) if line not in longest]
    says = f"What {budget.line} costs in {budget.epochs} epochs; every method at its longest training within that. "
    if absent:
        says += (
            f"Absent, for no training of theirs uses {100 * SMALLEST_SHARE:.0f} to 100 % of it: {', '.join(absent)}. "
        )
    title = f"Equal cost: at most {budget.passes / 1e6:.2f} million image passes"
    return _table(dataset, title, says, {each.name(budget.passes): each for each in longest.values()})


def _table(dataset: str, title: str, says: str, shown: Mapping[str, Trained]) -> Table:
    named = [
        replace(cell, key=cell.key._replace(method=name))
        for name, each in shown.items()
        for cell in (each.clean, each.robust)
    ]
    return table_of(dataset, Group(title, says + COUNTED), named)


def _trained(
    label: str, track: TrackParams, suite: RobustnessParams, dataset: str, cells: list[Cell]
) -> Trained | None:
    """One label, if its rows name clean accuracy, the cost, and robust accuracy at the main radius."""
    main = suite.budget(dataset).main if dataset in suite.budgets else None
    by_family = {cell.key.protocol.family: cell for cell in cells if _is_headline(cell.key.protocol, main, suite)}
    robust = next((by_family[family] for family in HEADLINES if family in by_family), None)
    clean = next((cell for cell in cells if cell.key.protocol == Protocol(family="clean")), None)
    if robust is None or clean is None or any("image_passes" not in row.detail for row in clean.rows):
        return None
    passes, seconds = (fmean(row.detail[name] for row in clean.rows) for name in ("image_passes", "training_s"))
    epochs = sum(phase.epochs for phase in track.training_of(label))
    return Trained(line_of(label, track), epochs, passes, seconds, clean, robust)


def _is_headline(protocol: Protocol, main: float | None, suite: RobustnessParams) -> bool:
    return (
        protocol.head is None
        and (protocol.norm, protocol.eps) == ("linf", main)
        and (protocol.family != "pgd" or protocol.steps == suite.steps.pgd)
    )


def line_of(label: str, track: TrackParams) -> str:
    """What differs from ``label`` in its training alone: the method behind it, or else the first such variant."""
    wanted, names = _untrained(label, track), (track.base_method(label), *track.variants)
    return next(name for name in names if _untrained(name, track) == wanted)


def _untrained(label: str, track: TrackParams) -> tuple:
    """What training a label reads, its length and optimiser left out."""
    if label in WITHOUT_ENCODER:
        return (label,)
    sections = {name: section for name, section in track.sections_of(label).items() if name != "training"}
    return track.base_method(label), track.settings_of(label), sections
