"""DynACL (Luo et al., ICLR 2023, arXiv 2303.01289), as in its code (specification of SwARo, 2 and 6)."""

import copy

import torch
from torch import Tensor

from contrastbench.attacks.training import training_attack
from contrastbench.augment.images import augment_images
from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod
from contrastbench.models.base import Shape
from contrastbench.models.batchnorm import branch, select_branch, with_dual_batchnorm
from contrastbench.objectives.contrastive import nt_xent
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.images import AugmentParams
from contrastbench.params.settings_adversarial import DynACLSettings

ANNEALED = (
    "jitter_probability",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "grayscale_probability",
    "blur_probability",
)


class DynACL(ContrastiveMethod):
    """ACL whose augmentation weakens and whose adversarial loss gains weight, with a momentum copy for view 2.

    The momentum copy, through its adversarial BatchNorm, is the encoder that is evaluated. Views are made here, because
    their strength depends on the step.
    """

    settings: DynACLSettings
    number_of_views = 0

    def __init__(self, params: ImagePretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        self._augment = params.augment
        with_dual_batchnorm(self)
        select_branch(self, "adversarial")
        self.online_encoder = copy.deepcopy(self.encoder)
        self.online_projector = copy.deepcopy(self.projector)
        self.encoder.requires_grad_(False)
        self.projector.requires_grad_(False)

    def networks(self) -> list[torch.nn.Module]:
        """Both encoders."""
        return [self.encoder, self.online_encoder]

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Attack both views together, then weigh the clean and the adversarial NT-Xent."""
        settings = self.settings
        strength = annealed_strength(step, settings.stages)
        augment = weakened(self._augment, strength)
        clean = torch.cat([augment_images(batch.clean, augment, step.generator) for _ in range(2)])
        adversarial = training_attack(
            self,
            clean,
            lambda x: self._contrast(x)[0],
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            generator=step.generator,
            start="unclipped-uniform",
        )
        with branch(self, "clean"):
            clean_loss, _ = self._contrast(clean)
        adversarial_loss, embeddings = self._contrast(adversarial)
        shift = settings.reweighting * (1 - strength)
        return {
            "loss": ((1 - shift) * clean_loss + (1 + shift) * adversarial_loss) / 2,
            "embeddings": embeddings.detach(),
            "clean_loss": clean_loss,
            "adversarial_loss": adversarial_loss,
        }

    @torch.no_grad()
    def after_backward(self, step: Step) -> None:
        """Move the copy towards the weights that made this step's views, as the code does before its optimiser's step.

        BatchNorm's running statistics are the copy's own.
        """
        pairs = ((self.encoder, self.online_encoder), (self.projector, self.online_projector))
        for copied, online in pairs:
            for old, new in zip(copied.parameters(), online.parameters(), strict=True):
                old.lerp_(new, 1 - self.settings.momentum)

    def _contrast(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """NT-Xent of the first half of ``views`` (2B, C, H, W) against the copy's second; the first's embeddings."""
        first, second = views.chunk(2)
        z = self.online_projector(self.online_encoder(first)).output
        with torch.set_grad_enabled(views.requires_grad):  # the copy has no gradients, attacked images do
            target = self.project(second).output
        return nt_xent(z, target, temperature=self.settings.temperature), z


def annealed_strength(step: Step, stages: int) -> float:
    """1 in the first of ``stages`` equal parts of the training, and less by 1 / ``stages`` in each one after it."""
    return 1 - step.number * stages // step.total / stages


def weakened(augment: AugmentParams, strength: float) -> AugmentParams:
    """``augment`` at a ``strength`` from 1 (unchanged) to 0 (no crop, no jitter, no grayscale, no blur).

    As in the code, flips and the crop's aspect ratio stay.
    """
    changed: dict[str, object] = {name: strength * getattr(augment, name) for name in ANNEALED}
    low, high = augment.crop_scale
    changed["crop_scale"] = (1 - strength * (1 - low), 1 - strength * (1 - high))
    return augment.model_copy(update=changed)
