"""Parameters of the search for settings: as many trials for every method, judged on validation data alone."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from operator import not_
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from contrastbench.params.base import Section, refusal
from contrastbench.params.values import Seed, without_repeats
from contrastbench.params.variants import Changes, Nested

Whole = Annotated[int, Field(ge=0, le=100_000_000)]
TRIAL = "-trial-"
DIGITS = 3  # of a value that is drawn: what tables and the file of the choice say is the value itself


def _absent(value: object) -> bool:
    return value is None


class Dimension(Section):
    """What trials differ in, and where its values come from: just one of these.

    log, linear  a range, in which numbers are spread evenly by their logarithm, or as they are
    integer      a range of whole numbers, both ends in it
    choice       a list of values
    simplex      this many shares that sum to 1, spread evenly over all such shares
    """

    log: tuple[float, float] | None = Field(default=None, exclude_if=_absent)
    linear: tuple[float, float] | None = Field(default=None, exclude_if=_absent)
    integer: tuple[Whole, Whole] | None = Field(default=None, exclude_if=_absent)
    choice: tuple[Any, ...] | None = Field(default=None, min_length=2, exclude_if=_absent)
    simplex: int | None = Field(default=None, ge=2, le=100, exclude_if=_absent)

    @model_validator(mode="after")
    def _is_one_range_that_is_not_empty(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"must have just one of {', '.join(type(self).model_fields)}")
        for name in ("log", "linear", "integer"):
            ends = getattr(self, name)
            if ends is not None and ends[0] >= ends[1]:
                raise refusal("must be [low, high] with low < high", name, value=ends)
        if self.log is not None and self.log[0] <= 0:
            raise refusal("must begin above 0", "log", value=self.log)
        return self

    @property
    def columns(self) -> int:
        """How many coordinates of a point make a value."""
        return 1 if self.simplex is None else self.simplex - 1

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Both ends of a range, every choice, or the corners of a simplex."""
        if self.simplex is not None:
            return tuple([float(at == corner) for at in range(self.simplex)] for corner in range(self.simplex))
        return self.choice or self.integer or self.linear or self.log or ()

    def value(self, point: Sequence[float]) -> Any:
        """The value at a ``point`` of the unit cube, which has :attr:`columns` coordinates in [0, 1)."""
        if self.simplex is not None:
            cuts = [0.0, *sorted(round(each, DIGITS) for each in point), 1.0]
            return [round(high - low, DIGITS) for low, high in pairwise(cuts)]
        (at,) = point
        if self.choice is not None:
            return self.choice[int(at * len(self.choice))]
        if self.integer is not None:
            first, last = self.integer
            return first + int(at * (last - first + 1))
        if self.linear is not None:
            low, high = self.linear
            exact = low + at * (high - low)
        else:
            assert self.log is not None
            low, high = self.log
            exact = low * (high / low) ** at
        return min(max(float(f"{exact:.{DIGITS}g}"), low), high)


class Trial(NamedTuple):
    """The ``number``-th trial of a method, or variant; number 0 is the method as it is."""

    of: str
    number: int

    @property
    def label(self) -> str:
        """Its name: what variants are told apart by."""
        return f"{self.of}{TRIAL}{self.number:02d}"


class SearchParams(Section):
    """The space that is searched, and how.

    measure  what trials are judged by, on validation data: ``knn`` (the probe's), ``pgd`` (the suite's, at the main
             radius) or ``few-shot`` (episodes)
    methods  methods, or variants, that are tuned
    trials   of each of them; the first is the method as it is, the others are the first points of one design
    seed     of every trial's training, and of the design; none of the track's: no table shows what was chosen by
    changes  what every trial changes besides, such as a shorter training
    diverged  labels of trials that cannot be trained, as found out by trying: they are not run again, and score 0
    shared   by dotted key, what is tuned of every method that reads it: trial i has the same value for all
    own      for each method, what is tuned of it alone; a key that is shared as well has the range that stands here
    """

    measure: Literal["knn", "pgd", "few-shot"]
    methods: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(without_repeats)]
    trials: int = Field(ge=2, le=1000)
    seed: Seed
    changes: Annotated[Changes, Nested]
    diverged: Annotated[tuple[str, ...], AfterValidator(without_repeats)] = Field(default=(), exclude_if=not_)
    shared: dict[str, Dimension] = Field(default_factory=dict)
    own: dict[str, dict[str, Dimension]] = Field(default_factory=dict)

    @field_validator("diverged")
    @classmethod
    def _are_labels_of_trials(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for position, label in enumerate(labels):  # a preset with fewer methods, or trials, may leave them
            of, _, number = label.rpartition(TRIAL)
            if not number.isdecimal() or Trial(of, int(number)).label != label:
                raise refusal(f"must be the label of a trial, such as hcl{TRIAL}03", position, value=label)
            if not int(number):
                raise refusal("is the method as it is; change its settings", position, value=label)
        return labels

    def all_trials(self) -> list[Trial]:
        """Every trial, also those that diverge."""
        return [Trial(method, number) for method in self.methods for number in range(self.trials)]

    def labels(self) -> list[str]:
        """The labels of the trials that are run."""
        return [trial.label for trial in self.all_trials() if trial.label not in self.diverged]

    def trial(self, label: str) -> Trial | None:
        """The trial of this label; None for another label."""
        of, _, number = label.rpartition(TRIAL)
        trial = Trial(of, int(number)) if of in self.methods and number.isdecimal() else None
        return trial if trial and trial.label == label and trial.number < self.trials else None

    def values(self, trial: Trial) -> dict[str, Any]:
        """The value of every dimension, shared or the method's own, in a trial that is not the first."""
        point, found = self._design()[trial.number - 1], {}
        # In the order of their names: that of a file's lines means nothing.
        for key, dimension in [*sorted(self.shared.items()), *sorted(self.own.get(trial.of, {}).items())]:
            found[key], point = dimension.value(point[: dimension.columns]), point[dimension.columns :]
        return found

    def _design(self) -> tuple[tuple[float, ...], ...]:
        shared, *own = (_columns(each) for each in (self.shared, {}, *self.own.values()))
        return design(self.trials - 1, shared + max(own), self.seed)


def _columns(space: Mapping[str, Dimension]) -> int:
    return sum(dimension.columns for dimension in space.values())


@cache
def design(points: int, columns: int, seed: int) -> tuple[tuple[float, ...], ...]:
    """The first ``points`` of Halton's sequence in the unit cube of so many ``columns``, scrambled by ``seed``.

    Quasi-random, so that few points leave no large gap. Scrambled (Owen, arXiv 1706.02808), because the plain sequence
    begins in the corner of zeros, and its later columns, of bases 11, 13, ..., rise side by side for as many points.
    A longer sequence begins with the shorter one: trials that are done stay when more are asked for.
    """
    from scipy.stats.qmc import Halton  # a third of a second, only where a trial's values are asked for

    return tuple(tuple(map(float, point)) for point in Halton(max(columns, 1), rng=seed).random(points))
