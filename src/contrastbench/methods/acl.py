"""ACL, dual stream (Jiang et al., NeurIPS 2020, arXiv 2010.13337), as in its code (specification of SwARo, 2)."""

import torch
from torch import Tensor

from contrastbench.attacks.training import training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.base import Shape
from contrastbench.models.batchnorm import branch, select_branch, with_dual_batchnorm
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.settings_adversarial import ACLSettings


class ACL(ContrastiveMethod):
    """SimCLR on two clean views and on two adversarial ones, each stream with its own BatchNorm.

    The adversarial BatchNorm is used everywhere but in the clean stream: it is the branch that ACL's evaluation loads.
    """

    settings: ACLSettings

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        with_dual_batchnorm(self)
        select_branch(self, "adversarial")

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Attack both views together, then average the clean and the adversarial NT-Xent."""
        settings = self.settings

        def contrast(both: Tensor) -> Tensor:
            return nt_xent(*self.project(both).output.chunk(2), temperature=settings.temperature)

        clean = torch.cat(batch.views)
        adversarial = training_attack(
            self,
            clean,
            contrast,
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
            start="unclipped-uniform",
        )
        with branch(self, "clean"):
            clean_loss = contrast(clean)
        output = self.project(adversarial).output
        adversarial_loss = nt_xent(*output.chunk(2), temperature=settings.temperature)
        return {
            "loss": (clean_loss + adversarial_loss) / 2,
            "embeddings": output.detach(),
            "clean_loss": clean_loss,
            "adversarial_loss": adversarial_loss,
        }
