"""Which examples a training step reads, and how many steps there are."""

import numpy as np
import torch

from contrastbench.errors import UserError
from contrastbench.params.training import TrainingParams
from contrastbench.training.seeds import generator_for


class ExampleOrder:
    """The batches of one run, derived from (seed, epoch) alone, so that a resumed run reads the same ones.

    per_epoch  steps per epoch; examples that do not fill a batch are skipped in that epoch
    total      steps of the run

    Raises UserError when a batch is larger than the data.
    """

    def __init__(self, count: int, params: TrainingParams, seed: int) -> None:
        self._chosen = _first_examples(count, params.max_examples, seed)
        self._batch_size = params.batch_size
        self._seed = seed
        self._epoch: int | None = None
        self._order = self._chosen
        self.per_epoch = len(self._chosen) // params.batch_size
        if self.per_epoch == 0:
            raise UserError(
                f"training.batch_size = {params.batch_size}: larger than the {len(self._chosen)} training examples; "
                f"at most {len(self._chosen)}"
            )
        steps = self.per_epoch * params.epochs
        self.total = steps if params.max_steps is None else min(steps, params.max_steps)

    def batch(self, number: int) -> np.ndarray:
        """Positions (B,) for step ``number``, sorted, because a memory-mapped array is read faster that way."""
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._order = self._chosen[_permutation(len(self._chosen), "order", self._seed, epoch)]
            self._epoch = epoch
        return np.sort(self._order[position * self._batch_size : (position + 1) * self._batch_size])


def _first_examples(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Positions of the examples to train on: all, or ``limit`` of them, chosen by the seed."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(_permutation(count, "subset", seed)[:limit])


def _permutation(count: int, *stream: int | str) -> np.ndarray:
    return torch.randperm(count, generator=generator_for(torch.device("cpu"), *stream)).numpy()
