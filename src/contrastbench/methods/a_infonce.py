"""A-InfoNCE on RoCL (Yu et al., ECCV 2022, arXiv 2207.08374), with inferior positives and hard negatives."""

from torch import Tensor

from contrastbench.methods.rocl import RoCL
from contrastbench.objectives.asymmetric import asymmetric_nt_xent
from contrastbench.params.settings_adversarial import AInfoNCESettings


class AInfoNCE(RoCL):
    """RoCL, attack and regulariser included, whose contrast treats the adversarial view unlike the clean ones."""

    settings: AInfoNCESettings

    def contrast(self, first: Tensor, second: Tensor, adversarial: Tensor) -> Tensor:
        """The asymmetric loss over the embeddings (B, D) of view 1, view 2 and the adversarial view."""
        settings = self.settings
        return asymmetric_nt_xent(
            first,
            second,
            adversarial,
            temperature=settings.temperature,
            clean_share=settings.clean_share,
            tau_plus=settings.tau_plus,
            beta=settings.beta,
        )
