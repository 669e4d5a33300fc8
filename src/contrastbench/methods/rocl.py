"""RoCL (Kim et al., NeurIPS 2020, arXiv 2006.07589), as in its code (specification of SwARo, sections 2 and 6)."""

from collections.abc import Callable

import torch
from torch import Tensor

from contrastbench.attacks.training import frozen, training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.objectives.instance_wise import multi_view_nt_xent
from contrastbench.params.settings_adversarial import RoCLSettings


class RoCL(ContrastiveMethod):
    """View 1 is pushed away from view 2; NT-Xent over both views and the adversarial one."""

    settings: RoCLSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Attack view 1, contrast three views, and add a small multiple of the loss that the attack maximised."""
        settings, (first, second) = self.settings, batch.views
        adversarial = training_attack(
            self,
            first,
            self._instance_loss(second),
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
        )
        views = self.project_together(first, second, adversarial)
        loss = self.contrast(*views)
        pair = self.project_together(adversarial, second)
        regularizer = multi_view_nt_xent(pair, temperature=settings.temperature)
        return {"loss": loss + settings.regularization * regularizer, "embeddings": views[0].detach()}

    def contrast(self, first: Tensor, second: Tensor, adversarial: Tensor) -> Tensor:
        """The loss over the embeddings (B, D) of view 1, view 2 and the adversarial view."""
        return multi_view_nt_xent((first, second, adversarial), temperature=self.settings.temperature)

    def _instance_loss(self, second: Tensor) -> Callable[[Tensor], Tensor]:
        """What the attack maximises: NT-Xent of the perturbed view against view 2."""
        temperature = self.settings.temperature
        if self.settings.reforward_target:
            return lambda x: multi_view_nt_xent(self.project_together(x, second), temperature=temperature)
        with torch.no_grad(), frozen(self):
            target = self.project(second).output
        return lambda x: multi_view_nt_xent([self.project(x).output, target], temperature=temperature)
