"""What MAE-CT and uaMix-MAE share: a pretrained encoder, a contrastive head, and tuning in two steps.

Fig-A of uaMix-MAE, and MAE-CT's stages 2 and 3 (specification of uaMix-MAE, 1.2 and 2): first the head alone on the
frozen encoder, then the upper part of the encoder with it.
"""

from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn

from contrastbench.methods.base import Method, Step
from contrastbench.methods.decay import groups_with_decay
from contrastbench.models.base import Shape
from contrastbench.models.heads import Projection, ProjectionHead
from contrastbench.models.nnclr_head import NNCLRHead
from contrastbench.models.vit import AudioViT
from contrastbench.objectives.mixed_unremix import mixed_unremix_loss
from contrastbench.objectives.nnclr import mixed_nnclr_loss, nnclr_loss
from contrastbench.params.audio_track import TuneParams
from contrastbench.params.images import ProjectorParams
from contrastbench.params.settings_autoencoder import MAECTSettings
from contrastbench.params.tuning import EncoderStepParams, HeadStepParams


class ContrastiveTuning(Method):
    """Encoder and head; :meth:`begin` sets which tuning step is trained next."""

    encoder: AudioViT
    settings: MAECTSettings

    def __init__(self, params: TuneParams, input_shape: Shape) -> None:
        super().__init__()
        assert isinstance(params.settings, MAECTSettings)
        self.settings = params.settings
        self.encoder = AudioViT(params.encoder, input_shape)
        self.head: NNCLRHead | ProjectionHead
        if self.settings.objective == "nnclr":
            self.head = NNCLRHead(self.encoder.features, params.head)
        else:
            sizes = ProjectorParams(hidden=params.head.projector_hidden, output=params.head.output)
            self.head = ProjectionHead(self.encoder.features, sizes)
        self.begin(params.head_step)

    @classmethod
    def from_params(cls, params: TuneParams, input_shape: Shape, number_of_classes: int) -> Self:
        """Build the method for spectrograms of ``input_shape`` (1, T, F)."""
        return cls(params, input_shape)

    def begin(self, step: HeadStepParams | EncoderStepParams) -> None:
        """Freeze what ``step`` does not train, and copy the projector into its EMA copy."""
        self._step = step
        self.encoder.requires_grad_(True)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        if isinstance(self.head, NNCLRHead):
            self.head.start_target()

    def _frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        if isinstance(self._step, HeadStepParams):
            return [self.encoder]
        if self._step.frozen_blocks == 0:
            return []
        lower = self.encoder.blocks[: self._step.frozen_blocks]
        return [self.encoder.patch_embed, self.encoder.cls_token, *lower]

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but the frozen parts, which stay in eval mode."""
        super().train(mode)
        for part in self._frozen_parts():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Layer-wise rates: layer_decay^(L - l) for block l of L, the full rate for the final norm, the head's own."""
        if isinstance(self._step, HeadStepParams):
            return groups_with_decay(self.head.parameters(), learning_rate, weight_decay)
        depth, decay = len(self.encoder.blocks), self._step.layer_decay
        lowest = chain(self.encoder.patch_embed.parameters(), [self.encoder.cls_token])
        groups = groups_with_decay(lowest, learning_rate * decay ** (depth + 1), weight_decay)
        for number, block in enumerate(self.encoder.blocks):
            groups += groups_with_decay(block.parameters(), learning_rate * decay ** (depth - number), weight_decay)
        groups += groups_with_decay(self.encoder.norm.parameters(), learning_rate, weight_decay)
        head = groups_with_decay(self.head.parameters(), self._step.head_learning_rate, self._step.head_weight_decay)
        return groups + head

    def after_step(self, step: Step) -> None:
        """Update the EMA projector; in step 1 it equals the projector."""
        if isinstance(self.head, NNCLRHead):
            self.head.move_target(self._step.ema_momentum if isinstance(self._step, EncoderStepParams) else 0.0)

    def contrast(self, first: Tensor, second: Tensor, labels: Tensor, ids: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The loss between two sides' features (B, F) with ``labels`` Y (B, B), and the first side's embeddings (B, D).

        BatchNorm in the head sees each side separately.
        """
        if isinstance(self.head, ProjectionHead):
            sides: tuple[Projection, Projection] = self.head(first), self.head(second)
            loss = mixed_unremix_loss(
                *sides,
                labels,
                temperature=self.settings.temperature,
                symmetric=self.settings.symmetric,
                **self.settings.negatives.model_dump(),
            )
            return loss, sides[0].output.detach()
        head, temperature = self.head, self.settings.temperature
        queries = head.target(first)
        found = head.neighbours(queries, ids, self._step.top_k, step.generator)
        predicted = head.predict(head.projector(second))
        if self.settings.symmetric:
            found_second = head.neighbours(head.target(second), ids, self._step.top_k, step.generator)
            predicted_first = head.predict(head.projector(first))
            loss = mixed_nnclr_loss(found, predicted, found_second, predicted_first, labels, temperature=temperature)
        else:
            loss = nnclr_loss(found, predicted, labels, temperature=temperature)
        return loss, queries

    def remember(self, embeddings: Tensor, ids: Tensor) -> None:
        """Put the step's first-side embeddings (B, D) into the queue, where the objective has one."""
        if isinstance(self.head, NNCLRHead):
            self.head.enqueue(embeddings, ids)


def identity_labels(ids: Tensor) -> Tensor:
    """Y (B, B) of unmixed samples: every sample is its own class."""
    return torch.eye(len(ids), device=ids.device)
