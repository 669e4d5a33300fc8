"""Numbers with their ranges.

The upper bounds lie ten times and more above published recipes. They exist so that a slip of the pen (``epochs: 1e9``
written out) is refused here, in one line, and does not end a job hours later for want of memory.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

MOST_SEEDS = 2**32  # scikit-learn takes no larger ones
LONGEST_LIST = 1000  # seeds, radii, strengths: more entries than anyone writes down

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Scale = Annotated[float, Field(gt=0, le=20)]  # multiplies a size

Seed = Annotated[int, Field(ge=0, lt=MOST_SEEDS)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
SomeEpochs = Annotated[float, Field(ge=0, le=100_000)]  # a length or a point in time, within a run
BatchSize = Annotated[int, Field(ge=2, le=131_072)]
Width = Annotated[int, Field(ge=1, le=131_072)]  # of a layer
Queue = Annotated[int, Field(ge=0, le=1_048_576)]  # embeddings
Neighbours = Annotated[int, Field(ge=1, le=1_048_576)]
Steps = Annotated[int, Field(ge=1, le=100_000)]  # of an attack
Frames = Annotated[int, Field(ge=0, le=100_000)]  # of 10 ms
Depth = Annotated[int, Field(ge=1, le=1000)]
Draws = Annotated[int, Field(ge=1, le=100_000)]
Labels = Annotated[int, Field(ge=1, le=1_000_000)]  # per class
Examples = Annotated[int, Field(ge=0, le=100_000_000)]
Often = Annotated[int, Field(ge=1, le=100_000_000)]  # training steps


def without_repeats(values: tuple) -> tuple:
    """``values``, for a validator of a list in which nothing may be listed twice; ValueError where something is."""
    twice = [value for position, value in enumerate(values) if value in values[:position]]
    if twice:
        raise ValueError(f"{twice[0]!r} is listed twice")
    return values


def told_apart(values: tuple[float, ...], digits: str = ".4g") -> tuple[float, ...]:
    """``values`` that differ as protocols write them, with ``digits``; else ValueError."""
    without_repeats(tuple(f"{value:{digits}}" for value in values))
    return values


def _fraction(value: Any) -> Any:
    """``8/255`` as the number it is."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = value.split("/")
        try:
            return float(above) / float(below)
        except (ValueError, ZeroDivisionError):
            return value
    return value


Epsilon = Annotated[float, BeforeValidator(_fraction), Field(ge=0, le=1)]  # l_inf, inputs in [0, 1]
Radius = Annotated[float, BeforeValidator(_fraction), Field(ge=0)]  # l2 and l1 are not bounded by 1

# Inverse strengths of an l2 penalty, and numbers of labels per class: lists to choose from, or to go through.
Strengths = Annotated[
    tuple[Positive, ...], Field(min_length=1, max_length=LONGEST_LIST), AfterValidator(without_repeats)
]
Shots = Annotated[tuple[Labels, ...], Field(max_length=LONGEST_LIST), AfterValidator(without_repeats)]
