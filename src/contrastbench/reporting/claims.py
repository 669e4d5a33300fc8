"""Claims as data: which statements about methods ``claims.yaml`` makes, and what the rows say of each.

A claim is a statement over rows: every method on its left against every one on its right, in every column (data set and
protocol, or equal cost of training) that it names. The tests are those of the tables (reporting/significance.py).
Holm's correction runs over the comparisons of one claim, over the tests of a difference and over those of equivalence
apart. A claim fares as the least favourable of its comparisons: all must support it, one contradicts it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter
from typing import Literal, NamedTuple, Self, get_args

from pydantic import Field, field_validator, model_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section, read_yaml, refusal, validate
from contrastbench.params.robustness import HeadName
from contrastbench.params.root import TRACKS, presets
from contrastbench.params.track import TrackParams
from contrastbench.pipeline.resolved import resolved
from contrastbench.pipeline.stages import WITH_ROWS
from contrastbench.registry import hint
from contrastbench.reporting.cells import Cell, cells_of
from contrastbench.reporting.cost import at_equal_cost, line_of, trainings
from contrastbench.reporting.published import at_published_setting, beside
from contrastbench.reporting.significance import (
    ALPHA,
    MOST_SEEDS,
    Interval,
    Paired,
    SeedVariance,
    compare_rows,
    equivalence,
    holm,
    seeds_needed,
)
from contrastbench.reporting.tables import ablation_rows, comparable, own_rows, pools
from contrastbench.results.load import Loaded
from contrastbench.results.metrics import METRICS
from contrastbench.results.protocols import FORMS, STANDARD_HEADS

FILE = "claims.yaml"
PUBLISHED = "published"  # on the right of a claim: the published value of each method on the left
OTHER_HEADS = tuple(head for head in get_args(HeadName) if head not in STANDARD_HEADS)
Names = tuple[str, ...]


class Verdict(Enum):
    """What the rows say of a claim or a comparison, least favourable first."""

    CONTRADICTED = "contradicted"
    EQUIVALENT = "equivalent"
    NOT_TESTABLE = "not-testable"
    UNDECIDED = "undecided"
    SUPPORTED = "supported"

    @property
    def words(self) -> str:
        """For a table."""
        return {"equivalent": "no difference larger than the margin", "not-testable": "not testable here"}.get(
            self.value, self.value
        )


class Claim(Section):
    """One statement.

    text       the statement in one sentence
    source     who makes it: ``abstract``, or a page of this repository
    presets    whose rows it is about; ``track``, ``datasets`` and ``protocols`` (patterns) say which of them
    target     whose tables: of the methods, of the ablation, or of trainings at equal ``cost``, which have no protocols
    left       methods, each of which is set against each of ``right``
    relation   ``>``: left is better; ``>= margin``: by at least the margin; ``equivalent``: they differ by no more;
               ``reaches``: left's published value is met, or exceeded, where right is ``published``
    margin     in points of accuracy: the smallest difference that matters; of ``reaches``, in units of both spreads
    """

    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    presets: Names = Field(min_length=1)
    track: str
    target: Literal["methods", "ablation", "cost"] = "methods"
    datasets: Names = Field(min_length=1)
    protocols: Names = ()
    left: Names = Field(min_length=1)
    right: Names = Field(min_length=1)
    relation: Literal[">", ">= margin", "equivalent", "reaches"]
    margin: float = Field(gt=0, le=100)

    @field_validator("track")
    @classmethod
    def _is_a_track(cls, name: str) -> str:
        if name not in TRACKS:
            raise ValueError(f"unknown track; {hint(name, TRACKS)}")
        return name

    @field_validator("protocols")
    @classmethod
    def _some_protocol_has_the_name(cls, patterns: Names) -> Names:
        for position, pattern in enumerate(patterns):
            if not any(_overlap(pattern, form) for form in _forms()):
                raise refusal(
                    f"no protocol has such a name; forms: {', '.join(FORMS.values())}", position, value=pattern
                )
        return patterns

    @model_validator(mode="after")
    def _says_what_is_measured(self) -> Self:
        if (self.target == "cost") == bool(self.protocols):
            raise ValueError("protocols: at equal cost robust accuracy at the main radius counts, else name some")
        if (self.relation == "reaches") != (self.right == (PUBLISHED,)):
            raise ValueError(f"relation: {PUBLISHED!r}, alone on the right, is what others reach, and nothing else is")
        if both := set(self.left) & set(self.right):
            raise ValueError(f"left and right: {min(both)!r} cannot be set against itself")
        return self


class _Claims(Section):
    claims: dict[str, Claim]


def _forms() -> list[str]:
    """Every protocol's name with ``*`` for its parts, under the standard head and the others."""
    plain = [
        "".join(text + "*" * (part is not None) for text, part, _, _ in Formatter().parse(form))
        for form in FORMS.values()
    ]
    return [*plain, *(f"{head}-{form}" for head in OTHER_HEADS for form in plain)]


def _overlap(first: str, second: str) -> bool:
    """Whether a name fits both patterns, of which ``*`` stands for anything."""
    if not first or not second:
        return not (first + second).strip("*")
    if first[0] == "*":
        return _overlap(first[1:], second) or _overlap(first, second[1:])
    if second[0] == "*":
        return _overlap(second, first)
    return first[0] == second[0] and _overlap(first[1:], second[1:])


def load_claims(root: Path = Path()) -> dict[str, Claim]:
    """The claims by id; none where there is no file. One that names what no run can make is a UserError."""
    path = root / FILE
    if not path.is_file():
        return {}
    claims = validate(_Claims, read_yaml(path), lambda _: str(path)).claims
    for name, claim in claims.items():
        problem = _cannot_be(claim, root)
        if problem:
            raise UserError(f"{path}: claims.{name}.{problem}")
    return claims


def _cannot_be(claim: Claim, root: Path) -> str | None:
    """Which part of a claim names what its presets do not have, and what they have."""
    datasets: set[str] = set()
    for preset in claim.presets:
        if preset not in presets(root):
            return f"presets: unknown preset {preset!r}; {hint(preset, presets(root))}"
        params = resolved(preset, root)
        if claim.track not in params.tracks:
            return f"track: preset {preset!r} has {', '.join(params.tracks)}, not {claim.track}"
        track = params.track(claim.track)
        if claim.relation == "reaches" and not at_published_setting(track):
            return f"presets: {claim.track} of preset {preset!r} is not at the published setting"
        known = methods_of(track, claim.target)
        for method in (*claim.left, *(() if claim.relation == "reaches" else claim.right)):
            if method not in known:
                return (
                    f"left, right: no {method!r} among the {claim.target} of preset {preset!r}; {hint(method, known)}"
                )
        judged = datasets_of(track)
        if not judged & set(claim.datasets):
            return f"datasets: none of them is in preset {preset!r}; known: {', '.join(sorted(judged))}"
        datasets |= judged
    unknown = next((name for name in claim.datasets if name not in datasets), None)
    return None if unknown is None else f"datasets: {unknown!r} is in none of its presets; {hint(unknown, datasets)}"


def methods_of(track: TrackParams, target: str) -> list[str]:
    """What can stand on either side; at equal cost the methods, whatever their lengths."""
    labels = getattr(track, target)
    return list(dict.fromkeys(line_of(label, track) for label in labels)) if target == "cost" else list(labels)


def datasets_of(track: TrackParams) -> set[str]:
    """All that a track's rows are about."""
    return {name for stage in WITH_ROWS for name in stage.data(track)}


class Place(NamedTuple):
    """A column of methods that can be compared; ``what`` is its protocol, or its cost."""

    preset: str
    dataset: str
    what: str


@dataclass(frozen=True)
class Outcome:
    """One comparison of a claim.

    difference  left minus right in points, positive where left is better; None where it cannot be told
    interval    of the difference, 95 %, for this comparison alone
    p_value     of no difference, or of just the margin where the claim is about that; Holm-corrected over the claim
    equal       p-value of a difference beyond the margin (TOST), Holm-corrected over the claim
    why         what is missing, or how many seeds would be needed
    older       some of its rows were made by older code of their stages; they count, as in the tables
    """

    place: Place
    left: str
    right: str
    verdict: Verdict
    difference: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    equal: float | None = None
    why: str = ""
    older: bool = False

    @property
    def title(self) -> str:
        """For example ``unremix - hcl, linear, mnist5k (default)``."""
        return f"{self.left} - {self.right}, {self.place.what}, {self.place.dataset} ({self.place.preset})"

    @property
    def effect(self) -> str:
        """``+1.2 [-0.3, +2.7]``, or nothing."""
        if self.difference is None:
            return ""
        ends = f" [{self.interval[0]:+.1f}, {self.interval[1]:+.1f}]" if self.interval else ""
        return f"{self.difference:+.1f}{ends}"


@dataclass(frozen=True)
class Judged:
    """A claim and what the rows say of each of its comparisons."""

    name: str
    claim: Claim
    outcomes: tuple[Outcome, ...]

    @property
    def deciding(self) -> Outcome:
        """The comparison that is least favourable to the claim; of several, that of the least difference."""
        ranks = list(Verdict)
        return min(self.outcomes, key=lambda each: (ranks.index(each.verdict), _distance(self.claim, each)))

    @property
    def verdict(self) -> Verdict:
        """Of the whole claim; an equivalence that all comparisons support is one."""
        found = self.deciding.verdict
        return Verdict.EQUIVALENT if (found, self.claim.relation) == (Verdict.SUPPORTED, "equivalent") else found

    @property
    def says_equal(self) -> bool:
        """Whether all comparisons were shown to differ by no more than the margin."""
        return self.claim.relation == "equivalent" and self.verdict is Verdict.EQUIVALENT

    def count(self, verdict: Verdict) -> int:
        """How many comparisons have it."""
        return sum(each.verdict is verdict for each in self.outcomes)


def _distance(claim: Claim, outcome: Outcome) -> float:
    difference = outcome.difference or 0.0
    return -abs(difference) if claim.relation == "equivalent" else difference


@dataclass(frozen=True)
class _Measured:
    """A comparison that its rows allow; ``sign`` is -1 where less is better."""

    place: Place
    left: str
    right: str
    paired: Paired
    sign: int
    older: bool

    @property
    def difference(self) -> float:
        """Left minus right as a share, positive where left is better."""
        return self.sign * self.paired.difference

    @property
    def interval(self) -> Interval | None:
        """In points."""
        if self.paired.interval is None:
            return None
        low, high = sorted(100 * self.sign * end for end in self.paired.interval)
        return low, high


def judge(name: str, claim: Claim, columns: Mapping[Place, Mapping[str, Cell]], lacking: Iterable[Place]) -> Judged:
    """Hold a claim against ``columns``, each a cell by method; of the places ``lacking`` there are no rows."""
    if claim.relation == "reaches":
        return _held_against_published(name, claim, columns, lacking)
    pairs = [(left, right) for left in claim.left for right in claim.right]
    outcomes = [Outcome(place, *pair, Verdict.NOT_TESTABLE, why="no rows") for place in lacking for pair in pairs]
    measured = []
    for place, column in columns.items():
        pooled = pools(comparable(column.values()))
        for left, right in pairs:
            if claim.target == "cost" and not {left, right} <= column.keys() and _anywhere(left, right, columns):
                continue  # at this cost one of them was not trained; at another both were
            found = _compared(column, left, right, pooled)
            if isinstance(found, str):
                outcomes.append(Outcome(place, left, right, Verdict.NOT_TESTABLE, why=found))
            else:
                sign = 1 if METRICS[column[left].key.metric].higher_is_better else -1
                older = column[left].older or column[right].older
                measured.append(_Measured(place, left, right, found, sign, older))
    outcomes = sorted([*outcomes, *_tested(claim, measured)], key=lambda each: claim.presets.index(each.place.preset))
    return Judged(name, claim, tuple(outcomes))


def _held_against_published(
    name: str, claim: Claim, columns: Mapping[Place, Mapping[str, Cell]], lacking: Iterable[Place]
) -> Judged:
    """A claim that published values are reached; a column for which none is published says nothing."""

    def not_testable(place: Place, left: str, why: str) -> Outcome:
        return Outcome(place, left, PUBLISHED, Verdict.NOT_TESTABLE, why=why)

    outcomes = [not_testable(place, left, "no rows") for place in lacking for left in claim.left]
    for place, column in columns.items():
        outcomes += [not_testable(place, left, f"no rows of {left}") for left in claim.left if left not in column]
        for each in beside(column[left] for left in claim.left if left in column):
            left, older = each.published.method, each.cell.older
            if each.cell.failed_checks:
                outcomes.append(not_testable(place, left, f"{left} fails a sanity check"))
                continue
            verdict = Verdict.SUPPORTED if each.units >= -claim.margin else Verdict.CONTRADICTED
            why = f"published {each.published.value:.1f} ± {each.published.spread:.1f}, {each.standing}"
            outcomes.append(Outcome(place, left, PUBLISHED, verdict, each.difference, why=why, older=older))
    everywhere = [not_testable(place, left, "no published number") for place in columns for left in claim.left]
    return Judged(name, claim, tuple(outcomes or everywhere))


def _anywhere(left: str, right: str, columns: Mapping[Place, Mapping[str, Cell]]) -> bool:
    return any({left, right} <= column.keys() for column in columns.values())


def _compared(
    column: Mapping[str, Cell], left: str, right: str, pooled: Mapping[bool, SeedVariance | None]
) -> Paired | str:
    """Two methods of a column, or why they cannot be tested."""
    for method in (left, right):
        if method not in column:
            return f"no rows of {method}"
        if column[method].failed_checks:
            return f"{method} fails a sanity check"
    first, second = column[left], column[right]
    if first.n != second.n:
        return f"{left} on {first.n} examples, {right} on {second.n}"
    try:
        paired = compare_rows(first.rows, second.rows, pooled[first.key.is_reference or second.key.is_reference])
    except ValueError as problem:  # no seed in common
        return str(problem)
    return paired if paired.p_value is not None else paired.test


def _tested(claim: Claim, measured: Sequence[_Measured]) -> list[Outcome]:
    """The outcomes of all that was measured, Holm-corrected over it."""
    differs = holm([_p_of_difference(claim, each) for each in measured])
    equal = holm([_p_of_equivalence(claim, each) for each in measured])
    level = ALPHA / max(len(measured), 1)
    outcomes = []
    for each, p_differs, p_equal in zip(measured, differs, equal, strict=True):
        verdict = _verdict(claim, each.difference, p_differs, p_equal)
        why = _what_would_decide(claim, each, level) if verdict is Verdict.UNDECIDED else ""
        place = (each.place, each.left, each.right)
        size = (100 * each.difference, each.interval)
        outcomes.append(Outcome(*place, verdict, *size, p_differs, p_equal, why, each.older))
    return outcomes


def _p_of_difference(claim: Claim, each: _Measured) -> float:
    """That left is better by more, or less, than what decides the claim; 1 where nothing tells of other seeds."""
    error, margin = each.paired.error, claim.margin / 100
    if error is None:
        return 1.0
    if claim.relation == "equivalent":
        size = abs(each.difference)  # of a truth at the margin, the means that lie as far out on either side
        return (error.p_value(size - margin) + error.p_value(size + margin)) / 2 if size > margin else 1.0
    return error.p_value(each.difference - (margin if claim.relation == ">= margin" else 0.0))


def _p_of_equivalence(claim: Claim, each: _Measured) -> float:
    error = each.paired.error
    return 1.0 if error is None else equivalence(each.difference, error, claim.margin / 100)


def _verdict(claim: Claim, difference: float, p_differs: float, p_equal: float) -> Verdict:
    if claim.relation == "equivalent":
        if p_differs <= ALPHA:
            return Verdict.CONTRADICTED
        return Verdict.SUPPORTED if p_equal <= ALPHA else Verdict.UNDECIDED
    if p_differs <= ALPHA:
        claimed = claim.margin / 100 if claim.relation == ">= margin" else 0.0
        return Verdict.SUPPORTED if difference > claimed else Verdict.CONTRADICTED
    return Verdict.EQUIVALENT if claim.relation == ">" and p_equal <= ALPHA else Verdict.UNDECIDED


def _what_would_decide(claim: Claim, each: _Measured, level: float) -> str:
    """Of a comparison that is left open: how many seeds would find a difference of the margin.

    Where those that there are would, how many would decide the claim if the difference is what was measured.
    """
    error, margin = each.paired.error, claim.margin / 100
    if error is None:
        return f"{each.paired.test}: nothing tells how much other seeds differ"
    seeds = seeds_needed(error, margin, level)
    if seeds and seeds <= error.seeds:
        size = abs(each.difference)
        undecided = {">": max(size, margin - size), ">= margin": abs(each.difference - margin)}
        seeds = seeds_needed(error, undecided.get(claim.relation, margin - size), level)
    if seeds:
        return f"{seeds} seeds would be needed"
    return f"{MOST_SEEDS} seeds would not do: more test examples are needed"


def judged_claims(
    claims: Mapping[str, Claim], loaded: Loaded, root: Path = Path(), preset: str | None = None
) -> list[Judged]:
    """What the rows say of ``claims``; with ``preset``, those of that one alone, of claims that name it."""
    judged = []
    for name, claim in claims.items():
        columns: dict[Place, dict[str, Cell]] = {}
        lacking: list[Place] = []
        for each in (each for each in claim.presets if preset in (None, each)):
            track = resolved(each, root).track(claim.track)
            rows = loaded.where(lambda row, at=(each, claim.track): (row.preset, row.track) == at)  # type: ignore[misc]
            found = columns_of(claim, each, rows, track)
            lacking += without_rows(claim, each, track, found)
            columns |= found
        judged.append(judge(name, claim, columns, lacking))
    return judged


def columns_of(claim: Claim, preset: str, rows: Loaded, track: TrackParams) -> dict[Place, dict[str, Cell]]:
    """The columns that a claim names, with all methods that its target's tables have; ``rows`` are the track's."""
    found: dict[Place, dict[str, Cell]] = {}
    if claim.target == "cost":
        for dataset, trained in trainings(rows, track).items():
            for budget, longest in at_equal_cost(trained, track):
                place = Place(preset, dataset, f"cost of {budget.line} in {budget.epochs} epochs")
                found[place] = {line: each.robust for line, each in longest.items()}
    else:
        own = own_rows(rows, getattr(track, claim.target))
        for key, cell in cells_of(own if claim.target == "methods" else ablation_rows(own, track.ablation)).items():
            named = any(fnmatchcase(key.protocol.name, pattern) for pattern in claim.protocols)
            if named and METRICS[key.metric].percent:
                found.setdefault(Place(preset, key.dataset, key.protocol.name), {})[key.method] = cell
    return {place: column for place, column in found.items() if place.dataset in claim.datasets}


def without_rows(claim: Claim, preset: str, track: TrackParams, found: Iterable[Place]) -> list[Place]:
    """For each data set of a claim that a preset has, the protocols that no column is of."""
    present = [(place.dataset, place.what) for place in found]
    return [
        Place(preset, dataset, pattern)
        for dataset in claim.datasets
        if dataset in datasets_of(track)
        for pattern in (claim.protocols or ("equal cost",))
        if not any(
            dataset == judged and (not claim.protocols or fnmatchcase(what, pattern)) for judged, what in present
        )
    ]
