"""What SwAV and SwARo share: prototypes, codes with an optional queue, and advice for a loss that is stuck."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.methods.base import Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.base import Shape
from contrastbench.models.prototypes import EmbeddingQueue, Prototypes
from contrastbench.objectives.swav import sinkhorn_codes
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.settings_contrastive import SwAVSettings

# A loss that never falls below this share of ln K has learned no assignment; needs at least MIN_LOSSES losses.
STUCK_ABOVE = 0.98
MIN_LOSSES = 10
ADVISED_EPSILON = 0.03  # by SwAV's README, where training with 0.05 fails

FIRST, SECOND, ADVERSARIAL = range(3)  # which queue a view's embeddings go to


class PrototypeMethod(ContrastiveMethod):
    """Encoder, projector and prototypes; embeddings and prototypes are unit vectors."""

    settings: SwAVSettings

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        dimension = params.projector.output
        self.prototypes = Prototypes(dimension, self.settings.prototypes)
        length = self.settings.queue_length
        self.queue = EmbeddingQueue(ADVERSARIAL + 1, length, dimension) if length else None

    def embed(self, *views: Tensor) -> list[Tensor]:
        """Each (B, C, H, W) -> unit vectors (B, d) in float32, all views in one forward pass as in SwAV's code."""
        return [functional.normalize(output.float(), dim=1) for output in self.project_together(*views)]

    @torch.no_grad()
    def codes(self, view: int, embeddings: Tensor, scores: Tensor, step: Step, *, remember: bool = True) -> Tensor:
        """Codes (B, K) of one assigning view, balanced together with its queue; then ``embeddings`` join the queue."""
        table, settings = scores, self.settings
        if self.queue is not None and step.epoch >= settings.queue_start_epoch:
            if self.queue.full(view):
                table = torch.cat([self.prototypes(self.queue.embeddings[view]), scores])
            if remember:
                self.queue.push(view, embeddings)
        codes = sinkhorn_codes(
            table, epsilon=settings.sinkhorn_epsilon, iterations=settings.sinkhorn_iterations, kind=settings.codes
        )
        return codes[-len(scores) :]

    def after_backward(self, step: Step) -> None:
        """Freeze the prototypes for the first ``freeze_epochs``."""
        if step.epoch < self.settings.freeze_epochs:
            self.prototypes.weight.grad = None

    def after_step(self, step: Step) -> None:
        """Put the prototypes back on the unit sphere."""
        self.prototypes.normalize()

    def advice(self, recent_losses: list[float]) -> str | None:
        """Recognise a loss stuck at ln K, that of a uniform prediction, and name the remedies of SwAV's authors."""
        ceiling = math.log(self.settings.prototypes)
        if len(recent_losses) < MIN_LOSSES or min(recent_losses) < STUCK_ABOVE * ceiling:
            return None
        return (
            f"the loss is stuck at ln K = {ceiling:.3f} (K = {self.settings.prototypes} prototypes): "
            f"{', '.join(_remedies(self.settings))}, or soften the augmentation"
        )


def _remedies(settings: SwAVSettings) -> list[str]:
    """What SwAV's authors advise against a loss that stays at ln K, unless it is already done."""
    epsilon = settings.sinkhorn_epsilon
    lower = f"to {ADVISED_EPSILON:g}" if epsilon > ADVISED_EPSILON else "further"
    remedies = [
        f"lower sinkhorn_epsilon ({epsilon:g}) {lower}",
        f"lengthen freeze_epochs ({settings.freeze_epochs:g})",
    ]
    return remedies + (["set codes to argmax"] if settings.codes == "soft" else [])
