"""PGD adversarial training (Madry et al. 2018, arXiv 1706.06083), supervised."""

from torch import Tensor
from torch.nn import functional

from contrastbench.attacks.training import training_attack
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.supervised import Supervised, labelled_view
from contrastbench.params.settings_adversarial import AttackSettings


class PGDAdversarialTraining(Supervised):
    """Cross-entropy on adversarial images alone (equation 2.1)."""

    settings: AttackSettings

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Maximise the cross-entropy over the ball, then minimise it over the weights."""
        settings, (view, labels) = self.settings, labelled_view(batch)
        adversarial = training_attack(
            self,
            view,
            lambda x: functional.cross_entropy(self.logits(x), labels, reduction="none"),
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
        )
        features = self.encoder(adversarial)
        return {
            "loss": functional.cross_entropy(self.classifier(features), labels),
            "embeddings": features.detach(),
        }
