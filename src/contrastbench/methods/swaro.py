"""SwARo (Wahed et al., 2022, arXiv 2204.10314): adversarial views created by permuting cluster assignments.

Re-implemented from the abstract and the method figure, with settings from SwAV and RoCL; every unknown of the
specification is a setting (``params/swaro.py``).
"""

import torch
from torch import Tensor

from contrastbench.attacks.training import frozen, training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.prototype_base import ADVERSARIAL, FIRST, SECOND, PrototypeMethod
from contrastbench.objectives.swaro import attack_targets
from contrastbench.objectives.swav import assignment_loss, swapped_prediction_loss
from contrastbench.params.settings_adversarial import SwARoSettings


class SwARo(PrototypeMethod):
    """View 1 is attacked towards another image's code, then predicts its own view 2 and is predicted by it."""

    settings: SwARoSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Attack view 1 towards permuted codes, then train on the adversarial view and its own view 2."""
        first, second = batch.views
        adversarial, failed = self.attack(first, second, step)
        views = {SECOND: second, ADVERSARIAL: adversarial}
        if self.settings.loss != "replace":
            views[FIRST] = first
        embeddings = dict(zip(views, self.embed(*views.values()), strict=True))
        loss = self._loss(embeddings, step)
        return {"loss": loss, "embeddings": embeddings[SECOND].detach(), "failed_cluster_test": failed.float().mean()}

    def attack(self, first: Tensor, second: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The adversarial version of view 1 (B, C, H, W), and which rows (B,) failed the cluster test (1.3)."""
        settings = self.settings
        with torch.no_grad(), frozen(self):
            (z,) = self.embed(second)
            codes = self.codes(SECOND, z, self.prototypes(z), step, remember=False)
        targets = attack_targets(
            codes, target=settings.target, cluster_test=settings.cluster_test, generator=step.generator
        )

        def ascend(x: Tensor) -> Tensor:
            scores = self.prototypes(self.embed(x)[0])
            return targets.direction * assignment_loss(scores, targets.codes, temperature=settings.temperature)

        eps: float | Tensor = settings.eps
        if settings.failing_rows == "clean":
            eps = settings.eps * (~targets.failed)
        adversarial = training_attack(
            self,
            first,
            ascend,
            eps=eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
        )
        return adversarial, targets.failed

    def _loss(self, embeddings: dict[int, Tensor], step: Step) -> Tensor:
        """Section 1.4: ``replace`` and ``add`` swap over all views, ``clean-codes`` uses codes of clean views only."""
        temperature = self.settings.temperature
        scores = {view: self.prototypes(z) for view, z in embeddings.items()}
        assigning = (FIRST, SECOND) if self.settings.loss == "clean-codes" else tuple(scores)
        codes = {view: self.codes(view, embeddings[view].detach(), scores[view].detach(), step) for view in assigning}
        if self.settings.loss == "clean-codes":
            pairs = [(scores[ADVERSARIAL], codes[SECOND]), (scores[SECOND], codes[FIRST])]
            return torch.stack([assignment_loss(s, q, temperature=temperature).mean() for s, q in pairs]).mean()
        return swapped_prediction_loss(list(scores.values()), list(codes.values()), temperature=temperature)
