"""What a method is to the training loop."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

from torch import Generator, Tensor, nn

from contrastbench.models.base import Shape


@dataclass(frozen=True)
class Batch:
    """One batch on the training device.

    clean   (B, C, H, W) float32, not augmented; images in [0, 1], spectrograms normalised (H = time, W = mel); of
            graphs a GraphBatch
    views   as many augmented versions of ``clean`` as the method's ``number_of_views``
    index   (B,) int64, position of each sample in the training split
    labels  (B,) int64, or None: only a method with ``uses_labels`` ever sees them in training
    """

    clean: Tensor
    views: list[Tensor]
    index: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Step:
    """The training step at hand. ``generator`` is seeded from (seed, step) alone, on the training device."""

    number: int  # counts from 0
    total: int
    per_epoch: int
    generator: Generator

    @property
    def epoch(self) -> float:
        """Epochs finished so far, as a fraction."""
        return self.number / self.per_epoch


class Method(nn.Module, ABC):
    """Encoder, heads and one training step that reads like the paper's algorithm box.

    State that must survive a resumed run (queues, EMA copies) is kept in buffers or sub-modules, so that it is part
    of ``state_dict``. Randomness comes from ``step.generator`` only.
    """

    encoder: nn.Module  # maps (B, C, H, W) to features (B, D); this is what the protocols evaluate
    number_of_views: int = 2
    uses_labels: bool = False
    trains: bool = True  # False: not trained, such as the reference row of random weights

    @classmethod
    @abstractmethod
    def from_params(cls, params: Any, input_shape: Shape, number_of_classes: int) -> Self:
        """A freshly initialised method: ``params`` is the track's ``PretrainParams``, ``input_shape`` (C, H, W)."""

    @abstractmethod
    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Return ``{"loss": scalar, "embeddings": (N, D), ...}``.

        ``embeddings`` (detached) are for the collapse monitor. All other entries are scalars for the log.
        The loop calls ``backward`` on ``loss``.
        """

    def networks(self) -> list[nn.Module]:
        """The costly modules that ``training_step`` calls, which map every row of a batch for itself, BatchNorm apart.

        When several devices train together, each computes its part of their rows, and everything else whole.
        """
        return [self.encoder]

    def import_weights(self) -> None:
        """Take weights from elsewhere, as the parameters say; called once, by the stage ``pretrain``."""

    def after_backward(self, step: Step) -> None:
        """Change gradients before the optimiser's step (for example, freeze prototypes)."""

    def after_step(self, step: Step) -> None:
        """Act on the new weights (for example, normalise prototypes or update an EMA copy)."""

    def diagnose(self, batch: Batch, labels: Tensor) -> dict[str, float]:
        """Measure something with labels, for the log only; called under ``no_grad`` in eval mode."""
        return {}

    def advice(self, recent_losses: list[float]) -> str | None:
        """One line that names a known failure and its remedy, judging by the last losses; else None."""
        return None

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser; each may set ``lr`` and ``weight_decay``."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": trainable, "lr": learning_rate, "weight_decay": weight_decay}]
