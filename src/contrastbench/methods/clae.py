"""CLAE (Ho and Vasconcelos, NeurIPS 2020, arXiv 2010.12050), as in its code (specification of SwARo, 2 and 6)."""

import torch
from torch import Tensor

from contrastbench.attacks.training import frozen, training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.base import Shape
from contrastbench.models.batchnorm import branch, with_dual_batchnorm
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.settings_adversarial import CLAESettings


class CLAE(ContrastiveMethod):
    """SimCLR with one FGSM view as an additional, harder positive; designed for clean accuracy, not for robustness.

    The adversarial view has its own BatchNorm; evaluation uses the clean one.
    """

    settings: CLAESettings

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        with_dual_batchnorm(self)

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step of FGSM on view 1 against itself, then NT-Xent with view 2 and with the adversarial view."""
        settings, (first, second) = self.settings, batch.views
        with branch(self, "adversarial"):
            with torch.no_grad(), frozen(self):
                anchor = self.project(first).output
            adversarial = training_attack(
                self,
                first,
                lambda x: nt_xent(anchor, self.project(x).output, temperature=settings.temperature),
                eps=settings.eps,
                step_size=settings.eps,
                steps=1,
                generator=step.generator,
                start="image",
            )
            z_adversarial = self.project(adversarial).output
        z_first, z_second = (self.project(view).output for view in (first, second))
        loss = nt_xent(z_first, z_second, temperature=settings.temperature)
        adversarial_loss = nt_xent(z_first, z_adversarial, temperature=settings.temperature)
        return {"loss": loss + settings.weight * adversarial_loss, "embeddings": z_first.detach()}
