"""Parameters of the search for learning rates."""

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.params.values import Epochs, Seed, told_apart, without_repeats

Rate = Annotated[float, Field(gt=0, lt=1e6)]  # a larger one would be written with a +, which labels have not


class SearchParams(Section):
    """Learning rates, tried with every method alike and judged on validation images alone.

    methods   methods, or variants, that are tried with each of the ``learning_rates``
    epochs    length of every trial
    seed      of all trials, and none of the track's: no table shows what was chosen by
    """

    methods: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(without_repeats)]
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2), AfterValidator(partial(told_apart, digits="g"))]
    epochs: Epochs
    seed: Seed
