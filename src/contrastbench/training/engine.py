"""Where and in what precision training computes: plain PyTorch where that is enough, else Lightning Fabric."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from contrastbench.methods import Batch, Method, Step

TrainingStep = Callable[[Batch, Step], dict[str, Tensor]]


class Engine(Protocol):
    """What the loop needs of either. ``state_dict`` is what a resumed run needs, the scale of 16-mixed."""

    device: torch.device

    def setup(self, method: Method, optimizer: Optimizer) -> tuple[TrainingStep, Any]:
        """Move ``method`` to the device; its training step, and the optimiser to step with."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing, or what the precision remembers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


def engine_for(device: str, precision: str) -> Engine:
    """The engine of one run on one ``cpu`` or ``cuda`` device."""
    return _Plain() if (device, precision) == ("cpu", "32-true") else _Fabric(device, precision)


class _Plain:
    """float32 on the CPU."""

    device = torch.device("cpu")

    def setup(self, method: Method, optimizer: Optimizer) -> tuple[TrainingStep, Any]:
        return method.training_step, optimizer

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class _Fabric:
    """An accelerator, or mixed precision."""

    def __init__(self, device: str, precision: Any) -> None:
        from lightning_fabric import Fabric  # only here: most runs do without

        self._fabric = Fabric(accelerator=device, devices=1, precision=precision)
        self.device = self._fabric.device

    def setup(self, method: Method, optimizer: Optimizer) -> tuple[TrainingStep, Any]:
        _, prepared = self._fabric.setup(method, optimizer)

        def training_step(batch: Batch, step: Step) -> dict[str, Tensor]:
            with self._fabric.autocast():  # Fabric's own wrapper does so around ``forward`` alone on one device
                return method.training_step(batch, step)

        return training_step, prepared

    def backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    def state_dict(self) -> dict[str, Any]:
        return self._fabric.strategy.precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._fabric.strategy.precision.load_state_dict(state)
