"""CLAE (Ho and Vasconcelos, NeurIPS 2020, arXiv 2010.12050), as in its code (specification of SwARo, 2 and 6)."""

import torch
from torch import Tensor

from contrastbench.attacks.training import frozen
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.base import Shape
from contrastbench.models.batchnorm import DualBatchNorm, branch, with_dual_batchnorm
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.settings_adversarial import CLAESettings

# Of the adversarial BatchNorm's running statistics; the authors' scripts set it.
ADVERSARIAL_MOMENTUM = 0.01


class CLAE(ContrastiveMethod):
    """SimCLR with one FGSM view as an additional, harder positive; designed for clean accuracy, not for robustness.

    The adversarial view has its own BatchNorm; evaluation uses the clean one.
    """

    settings: CLAESettings

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        with_dual_batchnorm(self)
        for layer in self.modules():
            if isinstance(layer, DualBatchNorm):
                layer.adversarial.momentum = ADVERSARIAL_MOMENTUM

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step of FGSM on view 1 against itself, then NT-Xent with view 2 and with the adversarial view."""
        settings, (first, second) = self.settings, batch.views
        with branch(self, "adversarial"):
            z_adversarial = self.project(self.attack(first)).output
        z_first, z_second = (self.project(view).output for view in (first, second))
        loss = nt_xent(z_first, z_second, temperature=settings.temperature)
        adversarial_loss = nt_xent(z_first, z_adversarial, temperature=settings.temperature)
        return {"loss": loss + settings.weight * adversarial_loss, "embeddings": z_first.detach()}

    def attack(self, view: Tensor) -> Tensor:
        """FGSM on ``view`` (B, C, H, W) against itself, through the BatchNorm in use; detached.

        As in the authors' ``gen_adv``: in train mode, so that both passes move BatchNorm's running statistics, and not
        clipped, so that pixels may leave [0, 1] by ``eps``.
        """
        x = view.detach().clone().requires_grad_()
        with frozen(self, in_eval_mode=False):
            with torch.no_grad():
                anchor = self.project(x).output
            loss = nt_xent(anchor, self.project(x).output, temperature=self.settings.temperature)
            (gradient,) = torch.autograd.grad(loss, x)
        return x.detach() + self.settings.eps * gradient.sign()
