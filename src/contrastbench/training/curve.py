"""A learning curve: what is measured of the encoder while its method trains."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from contrastbench.methods import Method, Step


@dataclass(frozen=True)
class LearningCurve:
    """``measure`` of the encoder, under ``name`` in the history, after every so many epochs and at the end.

    ``measure`` may leave the encoder in eval mode. It must not draw from a generator that training uses.
    """

    name: str
    every_epochs: int
    measure: Callable[[nn.Module], float]

    def has_point(self, step: Step) -> bool:
        """Whether there is a point after ``step``."""
        done = step.number + 1
        return done == step.total or done % (self.every_epochs * step.per_epoch) == 0

    def point(self, method: Method) -> dict[str, float]:
        """The point, as an entry of the history holds it; the method is in training mode again."""
        found = {self.name: self.measure(method.encoder)}
        method.train()
        return found
