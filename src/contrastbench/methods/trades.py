"""TRADES (Zhang et al. 2019, arXiv 1901.08573), supervised."""

import torch
from torch import Tensor

from contrastbench.attacks.training import frozen, training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.supervised import Supervised, labelled_view
from contrastbench.objectives.classification import kl_divergence, trades_loss
from contrastbench.params.settings_adversarial import TRADESSettings


class TRADES(Supervised):
    """Cross-entropy on clean images, and predictions that stay constant inside the ball."""

    settings: TRADESSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Maximise the divergence from the clean predictions over the ball, then minimise equation 5."""
        settings, (view, labels) = self.settings, labelled_view(batch)
        with torch.no_grad(), frozen(self):
            predicted = self.logits(view)
        adversarial = training_attack(
            self,
            view,
            lambda x: kl_divergence(predicted, self.logits(x)),
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
            start="gaussian",
        )
        features = self.encoder(view)
        loss = trades_loss(self.classifier(features), self.logits(adversarial), labels, beta=settings.beta)
        return {"loss": loss, "embeddings": features.detach()}
