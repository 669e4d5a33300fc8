"""Settings of label-free methods on images: views are contrasted, with weighted negatives or by clusters.

Where the specification of UnReMix lists an unknown (section 5), the default in params.yaml is its choice; for SwAV
(specification of SwARo) it is that of presets/paper.yaml, which params.yaml scales down to grey digits.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contrastbench.params.settings import MethodSettings
from contrastbench.params.values import NonNegative, Positive, Queue, SomeEpochs

TauPlus = Annotated[float, Field(ge=0, lt=1)]
Mixed = Annotated[int, Field(ge=0, le=16_384)]  # negatives per anchor


class WithTemperature(MethodSettings):
    """What every loss between two views has: similarities are divided by the ``temperature``."""

    temperature: Positive


class SimCLRSettings(WithTemperature):
    """NT-Xent."""


class DCLSettings(WithTemperature):
    """Debiased contrastive loss; ``tau_plus`` is the assumed share of false negatives."""

    tau_plus: TauPlus


class HCLSettings(WithTemperature):
    """Hard-negative contrastive loss; ``beta`` is the concentration on hard negatives."""

    tau_plus: TauPlus
    beta: NonNegative


class MoCHiSettings(WithTemperature):
    """Synthetic negatives from each anchor's ``hardest`` negatives, in-batch."""

    hardest: Annotated[Mixed, Field(ge=2)]
    mixed_negatives: Mixed
    mixed_with_query: Mixed


# One number per score: uncertainty, anchor similarity, representativeness.
Three = Annotated[tuple[NonNegative, ...], Field(min_length=3, max_length=3)]


class NegativeWeights(MethodSettings):
    """UnReMix's weights of the negatives (``objectives/unremix.py:negative_weights`` has the formulas).

    weights                lambda_1 (uncertainty), lambda_2 (anchor similarity), lambda_3 (representativeness)
    uncertainty            ``norm`` of the last layer's gradient, ``gradsim`` (its inner product with the anchor's), or
                           ``infonce_z`` (a control: monotone in anchor similarity)
    pseudo_label           ``argmax`` of the posterior over the batch, or ``alignment`` (the sample's own other view)
    posterior_temperature  of that posterior; null for the loss's own
    standardized           whether each score is standardised over the anchor's negatives before they are mixed
    normalization          ``minmax`` over each anchor's negatives, ``softmix`` or ``exp``
    sharpness              one per score: an exponent in ``minmax``, a factor in the exponent in the other two
    """

    weights: Three
    uncertainty: Literal["norm", "gradsim", "infonce_z"]
    pseudo_label: Literal["argmax", "alignment"]
    posterior_temperature: Positive | None
    standardized: bool
    normalization: Literal["minmax", "softmix", "exp"]
    sharpness: Three
    distance: Literal["euclidean", "cosine"]
    detach_weights: bool

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> Self:
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights {list(self.weights)} must sum to 1, not {sum(self.weights):g}")
        return self


class UnReMixSettings(NegativeWeights, WithTemperature):
    """Every switch of the specification's section 1.4.

    negatives  ``both`` views (2B - 2) or the ``other`` view only (B - 1)
    """

    negatives: Literal["both", "other"]
    tau_plus: TauPlus


class SwAVSettings(MethodSettings):
    """SwAV (specification 1.2).

    queue_length       embeddings kept per assigning view, 0 for no queue; must make up for a batch below ``prototypes``
    queue_start_epoch  epoch from which the queue fills; it counts once it is full
    freeze_epochs      for this long, the prototypes get no gradient
    codes              ``soft``, or rounded to one-hot (``argmax``)
    """

    prototypes: int = Field(ge=2, le=1_048_576)
    temperature: Positive
    sinkhorn_epsilon: Positive
    sinkhorn_iterations: int = Field(ge=1, le=10_000)
    queue_length: Queue
    queue_start_epoch: SomeEpochs
    freeze_epochs: SomeEpochs
    codes: Literal["soft", "argmax"]

    def check_batch(self, batch_size: int) -> None:
        """Refuse more prototypes than embeddings to spread over them: Sinkhorn's masses would be parts of a sample."""
        columns = batch_size + self.queue_length
        if self.prototypes > columns:
            queue = f"the queue of {self.queue_length}" if self.queue_length else "no queue"
            raise ValueError(
                f"prototypes {self.prototypes} exceed the {columns} embeddings of a batch of {batch_size} and {queue}; "
                f"at most {columns}, or queue_length {self.prototypes - batch_size} or more"
            )
