"""UnReMix (Tabassum et al., 2022): negatives chosen by uncertainty, similarity and representativeness.

Re-implemented from the abstract, the figure and secondary sources (specification of UnReMix); every unknown is a
setting (``params/settings_contrastive.py``).
"""

import math

from torch import Generator, Tensor

from contrastbench.methods.two_views import TwoViews
from contrastbench.models.heads import Projection
from contrastbench.objectives.unremix import fill_others, unremix_loss, weighted
from contrastbench.params.settings_contrastive import UnReMixSettings


class UnReMix(TwoViews):
    """Score every negative, weight it, contrast."""

    settings: UnReMixSettings

    def contrast(self, first: Projection, second: Projection, generator: Generator) -> Tensor:
        """The contrastive loss with weighted negatives."""
        return unremix_loss(first, second, **self.settings.model_dump())

    def weightings(self, first: Projection, second: Projection) -> dict[str, Tensor]:
        """The weights, and each of the three scores alone."""
        _, weight, scores = weighted(first, second, **self.settings.model_dump(exclude={"tau_plus"}))
        ranked = {"weights": weight, **scores.by_name}
        return {name: fill_others(each.clone(), -math.inf, scores.negatives) for name, each in ranked.items()}
