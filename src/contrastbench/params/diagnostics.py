"""Parameters of what is looked at in a contrastive loss, besides what its encoder is worth."""

from typing import Annotated

from pydantic import AfterValidator, Field

from contrastbench.params.base import Section
from contrastbench.params.values import Share
from contrastbench.registry import METHODS, contrasts, hint


def _require_contrast(method: str) -> str:
    """A method that has a loss like NT-Xent's, and the projector that it needs; else ValueError."""
    if not contrasts(method):
        known = filter(contrasts, METHODS)
        raise ValueError(f"{method!r} is no method that contrasts two views of a batch; {hint(method, known)}")
    return method


class DiagnosticsParams(Section):
    """Which negatives each method weights most, measured on one encoder that all share.

    encoder  the method whose trained encoder, of the same seed, that is: one that contrasts two views. A track without
             it among its ``methods`` looks at nothing
    batches  how many batches of its training data, augmented and projected as in its training
    top      the share of each anchor's negatives that counts as heavily weighted
    """

    encoder: Annotated[str, AfterValidator(_require_contrast)]
    batches: Annotated[int, Field(ge=1, le=100_000)]
    top: Share
