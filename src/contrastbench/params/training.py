"""Parameters of the one training loop, shared by all tracks."""

from typing import Literal

from pydantic import Field

from contrastbench.params.base import Section


class TrainingParams(Section):
    """Optimiser, schedule and bookkeeping of one training run."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    optimizer: Literal["adam", "adamw", "sgd", "lars"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_epochs: float = Field(ge=0)
    # The cosine schedule ends at this fraction of the learning rate; 1 keeps the rate constant.
    final_learning_rate_fraction: float = Field(ge=0, le=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    # Use only the first N shuffled training examples (a declared budget cut); null uses all.
    max_examples: int | None = Field(default=None, ge=2)
    # Stop after this many steps whatever the epochs say; null trains all epochs.
    max_steps: int | None = Field(default=None, ge=1)
    checkpoint_every_steps: int = Field(ge=1)
    log_every_steps: int = Field(ge=1)
