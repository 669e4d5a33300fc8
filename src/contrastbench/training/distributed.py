"""One training on several devices, equal to the same training on one.

Every process holds the whole batch, draws the same random numbers and computes the whole loss. What is divided is the
work: a method's networks (:meth:`Method.networks`) see a process's own part of the rows, and what they return is
gathered, with gradient. So losses over all pairs of a batch, codes balanced over it, queues and attacks are those of
one process without knowing of it.

With R processes, each holds the gradient of the whole loss with respect to what was gathered. Its own part of that,
times R, goes back through the network, so that the mean over processes, which DistributedDataParallel takes of every
parameter's gradient, is the gradient of the whole batch: inside the networks it is R times a part's, outside them the
same in each process.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map


@contextmanager
def divided(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside the block, each of the networks is computed in parts: rows (B, ...) in, rows (B, ...) out.

    B is divisible by the number of processes.
    """
    hooks = []
    for network in networks:
        hooks.append(network.register_forward_pre_hook(lambda _, inputs: tree_map(_Part.apply, inputs)))
        hooks.append(network.register_forward_hook(lambda _, inputs, outputs: tree_map(_Gathered.apply, outputs)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Part(torch.autograd.Function):
    """(B, ...) -> this process's (B / R, ...); backwards, the gradients of all parts, without the factor R."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> Tensor:
        return _own(whole).clone(memory_format=torch.preserve_format)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _all(gradient) / distributed.get_world_size()


class _Gathered(torch.autograd.Function):
    """(B / R, ...) -> (B, ...); backwards, R times this process's part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _all(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _own(gradient) * distributed.get_world_size()


def _own(whole: Tensor) -> Tensor:
    return whole.unflatten(0, (distributed.get_world_size(), -1))[distributed.get_rank()]


def _all(part: Tensor) -> Tensor:
    part = part.contiguous()
    parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part)
    return torch.cat(parts)


def synchronize_batchnorm(network: nn.Module, device: torch.device) -> None:
    """Make every BatchNorm inside ``network`` normalise by the statistics of all processes' rows, in place.

    Torch's own is for accelerators alone.
    """
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = _SynchronizedOnCPU


class _SynchronizedOnCPU(_BatchNorm):
    """What ``torch.nn.SyncBatchNorm`` computes, of operations that a CPU has."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _Mean.apply(x.float().mean(axes))
        centred = x.float() - mean.view(shape)
        variance = _Mean.apply(centred.square().mean(axes))
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any: the layer whose place it takes has checked none other."""


class _Mean(torch.autograd.Function):
    """The mean over processes of a tensor; of its gradients, too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _mean(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _mean(gradient)


def _mean(own: Tensor) -> Tensor:
    total = own.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
