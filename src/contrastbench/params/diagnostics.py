"""Parameters of what is looked at in a contrastive loss, besides what its encoder is worth."""

from typing import Annotated

from pydantic import Field

from contrastbench.params.base import Section
from contrastbench.params.values import Share


class DiagnosticsParams(Section):
    """Which negatives each method weights most, measured on one encoder that all share.

    encoder  the method, or variant, whose trained encoder, of the same seed, that is: one that contrasts two views. A
             track without it among its ``methods`` looks at nothing
    batches  how many batches of its training data, augmented and projected as in its training
    top      the share of each anchor's negatives that counts as heavily weighted
    """

    encoder: str
    batches: Annotated[int, Field(ge=1, le=100_000)]
    top: Share
