"""Naive joint training from scratch: masked autoencoding and instance discrimination at once.

The expensive baseline of uaMix-MAE's abstract. Both augmented views pass through the encoder unmasked for NNCLR, and
the first again with most patches hidden for the reconstruction.
"""

from typing import Self

import torch
from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.mae import MAE
from contrastbench.models.base import Shape
from contrastbench.models.nnclr_head import NNCLRHead
from contrastbench.objectives.nnclr import mixed_nnclr_loss
from contrastbench.params.audio_track import JointPretrainParams
from contrastbench.params.settings_autoencoder import JointSettings


class MAEJoint(MAE):
    """Reconstruction loss + ``contrast_weight`` * NNCLR, encoder, decoder and head from scratch."""

    number_of_views = 2

    def __init__(self, params: JointPretrainParams, input_shape: Shape) -> None:
        super().__init__(params, input_shape)
        assert isinstance(params.settings, JointSettings)
        self.settings = params.settings
        self.head = NNCLRHead(self.encoder.features, params.head)

    @classmethod
    def from_params(  # type: ignore[override]  # joint training has its own parameters
        cls, params: JointPretrainParams, input_shape: Shape, number_of_classes: int
    ) -> Self:
        """Build the method for spectrograms of ``input_shape`` (1, T, F)."""
        return cls(params, input_shape)

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One masked and two full passes through the encoder."""
        reconstruction, _ = self.reconstruction(batch.views[0], step)
        projected = [self.head.projector(self.encoder(view)) for view in batch.views]
        queries = [torch.nn.functional.normalize(z.detach().float(), dim=1) for z in projected]
        neighbours = [self.head.neighbours(q, batch.index, self.settings.top_k, step.generator) for q in queries]
        predicted = [self.head.predict(z) for z in projected]
        identity = torch.eye(len(batch.index), device=batch.index.device)
        contrast = mixed_nnclr_loss(
            neighbours[0], predicted[1], neighbours[1], predicted[0], identity, temperature=self.settings.temperature
        )
        self.head.enqueue(queries[0], batch.index)
        loss = reconstruction + self.settings.contrast_weight * contrast
        return {
            "loss": loss,
            "reconstruction": reconstruction.detach(),
            "contrast": contrast.detach(),
            "embeddings": queries[0],
        }
