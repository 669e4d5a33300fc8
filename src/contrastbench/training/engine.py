"""Where and in what precision training computes: plain PyTorch where that is enough, else Lightning Fabric.

With several processes, either of them in each, and PyTorch's DistributedDataParallel around it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from contrastbench.methods import Batch, Method, Step
from contrastbench.training.distributed import divided, synchronize_batchnorm
from contrastbench.training.processes import process_count

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


def engine_for(device: str, precision: str, *, sync_batchnorm: bool = True) -> Engine:
    """The engine of one run on ``cpu`` or ``cuda``: the device of this process."""
    engine = _Plain() if (device, precision) == ("cpu", "32-true") else _Fabric(device, precision)
    return engine if process_count() == 1 else _Several(engine, sync_batchnorm)


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

        devices = [torch.cuda.current_device()] if device == "cuda" else 1
        self._fabric = Fabric(accelerator=device, devices=devices, precision=precision)
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


class _Several:
    """This process's share of a training that several do together; ``engine`` is what it would train with alone."""

    def __init__(self, engine: Engine, sync_batchnorm: bool) -> None:
        self.engine, self._sync_batchnorm = engine, sync_batchnorm
        self.device, self.backward = engine.device, engine.backward
        self.state_dict, self.load_state_dict = engine.state_dict, engine.load_state_dict

    def setup(self, method: Method, optimizer: Optimizer) -> tuple[TrainingStep, Any]:
        training_step, prepared = self.engine.setup(method, optimizer)
        networks = method.networks()
        if self._sync_batchnorm:
            for network in networks:
                synchronize_batchnorm(network, self.device)
        return DistributedDataParallel(_Divided(method, training_step)), prepared


class _Divided(nn.Module):
    """A training step, as DistributedDataParallel takes it."""

    def __init__(self, method: Method, training_step: TrainingStep) -> None:
        super().__init__()
        self.method, self.training_step = method, training_step

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        with divided(self.method.networks()):
            return self.training_step(batch, step)
