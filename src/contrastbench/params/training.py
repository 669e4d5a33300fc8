"""Parameters of the one training loop, shared by all tracks."""

from typing import Annotated, Literal

from pydantic import Field

from contrastbench.params.base import Section
from contrastbench.params.values import (
    BatchSize,
    Epochs,
    Examples,
    NonNegative,
    Often,
    Positive,
    Probability,
    SomeEpochs,
)


class TrainingParams(Section):
    """Optimiser, schedule and bookkeeping of one training run."""

    epochs: Epochs
    batch_size: BatchSize
    optimizer: Literal["adam", "adamw", "sgd", "lars"]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_epochs: SomeEpochs
    # The cosine schedule ends at this fraction of the learning rate; 1 keeps the rate constant.
    final_learning_rate_fraction: Probability
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    # Use only the first N shuffled training examples (a declared budget cut); null uses all.
    max_examples: Annotated[Examples, Field(ge=2)] | None = None
    # Stop after this many steps whatever the epochs say; null trains all epochs.
    max_steps: Often | None = None
    # Of several devices that train together, BatchNorm sees the whole batch; false: each its own part, so that results
    # depend on how many devices there are. On one device it changes nothing.
    sync_batchnorm: bool = Field(default=True, exclude_if=bool)
    checkpoint_every_steps: Often
    log_every_steps: Often
