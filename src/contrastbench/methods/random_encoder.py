"""Reference row: the encoder as it is initialised, without any training."""

from torch import Tensor

from contrastbench.methods.base import Batch, Step
from contrastbench.methods.contrastive_base import ContrastiveMethod


class RandomEncoder(ContrastiveMethod):
    """An encoder that is never trained."""

    trains = False

    def training_step(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Never called: ``trains`` is False."""
        raise RuntimeError("the random encoder is a reference row and is not trained")
