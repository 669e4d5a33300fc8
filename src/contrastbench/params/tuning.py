"""Parameters of tuning in two steps: a contrastive head, then the upper part of the encoder with it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from contrastbench.params.base import Section
from contrastbench.params.training import TrainingParams
from contrastbench.params.values import Neighbours, NonNegative, Positive, Probability, Queue, Width


class HeadParams(Section):
    """Contrastive head. MAE-CT: projector 2048-2048-256, predictor 4096-256, queue 65,536."""

    projector_hidden: Width
    output: Width
    predictor_hidden: Width
    queue: Annotated[Queue, Field(ge=2)]


class HeadStepParams(Section):
    """Tuning step 1: the encoder is frozen, the head is learned; queue entries come from the projector itself.

    ``training.learning_rate`` and ``weight_decay`` are the head's.
    """

    training: TrainingParams
    top_k: Neighbours


class EncoderStepParams(Section):
    """Tuning step 2: the upper part of the encoder and the head are learned.

    training           its learning rate and weight decay are the encoder's, before ``layer_decay``
    head_learning_rate, head_weight_decay  the head's
    top_k              the neighbour is drawn from the nearest of this number
    ema_momentum       of the EMA projector that makes queue entries and look-up queries
    frozen_blocks      this many of the lowest blocks stay as they are, with patch embedding, positions, class token
    layer_decay        block l of L (0-based) learns at layer_decay^(L - l) times the rate, the final norm at the rate
    """

    training: TrainingParams
    head_learning_rate: Positive
    head_weight_decay: NonNegative
    top_k: Neighbours
    ema_momentum: Probability
    frozen_blocks: int = Field(ge=0, le=1000)
    layer_decay: float = Field(gt=0, le=1)


class TwoStepTuningParams(Section):
    """Progressive retraining (specification, Fig-A): the head, then both steps."""

    head: HeadParams
    head_step: HeadStepParams
    encoder_step: EncoderStepParams

    @model_validator(mode="after")
    def _queue_is_large_enough(self) -> Self:
        for name, step in (("head_step", self.head_step), ("encoder_step", self.encoder_step)):
            if step.training.batch_size > self.head.queue:
                raise ValueError(
                    f"head.queue {self.head.queue} must hold a batch of {name} ({step.training.batch_size})"
                )
            if step.top_k > self.head.queue:
                raise ValueError(f"{name}.top_k {step.top_k} must be at most head.queue ({self.head.queue})")
        return self
