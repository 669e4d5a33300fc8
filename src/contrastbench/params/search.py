"""Parameters of the search for learning rates."""

from typing import Annotated

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.params.values import Epochs, Positive, Seed, without_repeats


class SearchParams(Section):
    """Learning rates, tried with every method alike and judged on validation images alone.

    methods   methods, or variants, that are tried with each of the ``learning_rates``
    epochs    length of every trial
    seed      of all trials, and none of the track's: no table shows what was chosen by
    """

    methods: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(without_repeats)]
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=2), AfterValidator(without_repeats)]
    epochs: Epochs
    seed: Seed
