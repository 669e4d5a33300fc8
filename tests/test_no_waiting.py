"""No step of training makes the host wait for an accelerator.

The device ``meta`` stands for one: its tensors hold no values, so that whatever reads one (``float``, ``nonzero``,
``tolist``, a boolean index, a copy to the host) fails. Copies towards it are watched for those that wait.
"""

import math
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from uamix_cases import FRAMES, MELS, smallest_track

from contrastbench.augment.host import on_host
from contrastbench.methods import method_class
from contrastbench.modalities import modality
from contrastbench.params.root import load
from contrastbench.training import loop
from contrastbench.training.engine import _Plain
from contrastbench.training.loop import Examples, train
from contrastbench.training.resumable import ResumableRun

UNREMIX = ("dcl", "hcl", "mochi", "unremix")
META = torch.device("meta")
ROOT = loop.Path(__file__).resolve().parent.parent


class MetaGenerator(torch.Generator):
    """Draws for tensors without values; of a CUDA generator the host knows seed and offset."""

    device = META

    def get_offset(self) -> int:
        return 0


class Waiting(Exception):
    pass


class _Created(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == META and _of_host(args[0]):
            raise Waiting(f"{func.__name__} of {args[0]} on the device")
        return func(*args, **kwargs)


class _Copied(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            waits = kwargs.get("device") == META and not kwargs.get("non_blocking")
            if waits and args[0].device.type == "cpu":
                raise Waiting(f"a copy of {tuple(args[0].shape)} to the device")
        return func(*args, **kwargs)


def _of_host(data: object) -> bool:
    return not isinstance(data, torch.Tensor) or data.device.type == "cpu"


class OnMeta(_Plain):
    """An engine whose steps, the first apart, are watched."""

    device = META

    def setup(self, method, optimizer):
        method.to(META)
        return method.training_step, optimizer

    def backward(self, loss):
        loss.backward()
        self.modes = getattr(self, "modes", None) or self._watch()

    def _watch(self):
        modes = (_Created(), _Copied())
        for mode in modes:
            mode.__enter__()
        return modes

    def stop(self):
        for mode in reversed(getattr(self, "modes", ())):
            mode.__exit__(None, None, None)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Trains on ``meta`` and returns the numbers of finished steps at which the scalars were read."""
    reads: list[int] = []

    def read(run, seconds):
        reads.append(run.log.steps)
        assert len(run._unread) == reads[-1] - (reads[-2] if len(reads) > 1 else 0)
        run._unread = []
        return {"loss": 1.0}

    def on_meta(method, examples, training, free_memory=10**9, **changes):
        engine = OnMeta()
        monkeypatch.setattr(loop, "engine_for", lambda *args, **kwargs: engine)
        monkeypatch.setattr(loop, "Generator", lambda device: MetaGenerator())
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_memory, free_memory))
        monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # knows no ``meta``
        monkeypatch.setattr(ResumableRun, "read", read)
        monkeypatch.setattr(ResumableRun, "save", lambda run: None)
        monkeypatch.setattr(loop, "_entry", lambda *args: {"effective_rank": math.inf})
        monkeypatch.setattr(loop, "_are_finite", lambda method: True)
        steps = {"epochs": 9, "log_every_steps": 2, "checkpoint_every_steps": 3, "batch_size": 8}
        params = training.model_copy(update=steps | changes)
        try:
            train(method, examples, params, seed=0, checkpoint=tmp_path / "c", identity="x", show_progress=False)
        finally:
            engine.stop()
        return reads

    return on_meta


def images(params, channels=3, count=24) -> Examples:
    rng = np.random.default_rng(0)
    kind = modality("image")
    x = rng.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)
    return Examples(x, np.arange(count) % 3, kind.inputs, kind.augmentation(params.augment))


@cache
def cifar():
    return load("cifar", ROOT)


def image_case(label: str, **settings):
    params = cifar().track("unremix" if label in UNREMIX else "swaro").pretrain(label, "cifar10")
    changed = {
        "settings": params.settings.model_copy(update=settings),
        "augment": params.augment.model_copy(update={"blur_probability": 0.5}),
        "encoder": params.encoder.model_copy(update={"width": 8}),
    }
    params = params.model_copy(update=changed)
    return method_class(params.method).from_params(params, (3, 8, 8), 3), images(params), params.training


@pytest.mark.parametrize("free_memory", [10**9, 10], ids=["resident", "read ahead"])
def test_no_step_waits(trained, free_memory):
    """Losses are read when a step is logged (every second), a checkpoint is due (every third), and at the end."""
    assert trained(*image_case("simclr"), max_steps=5, free_memory=free_memory) == [2, 3, 4, 5]


ATTACKED = {"steps": 2}
QUEUE = {"queue_length": 16, "queue_start_epoch": 0.0, "sinkhorn_epsilon": 0.05}  # full after two of three steps
IMAGE_METHODS = [
    *((label, {}) for label in ("hcl", "unremix", "mochi", "dcl", "swav", "supervised")),
    *((label, ATTACKED) for label in ("rocl", "acl", "clae", "dynacl", "a-infonce", "swaro", "pgd-at", "trades")),
    ("swav", QUEUE),
]


@pytest.mark.parametrize(("label", "settings"), IMAGE_METHODS)
def test_no_step_of_the_other_image_methods_waits(trained, label, settings):
    steps = 3 if settings is QUEUE else 2
    assert trained(*image_case(label, **settings), max_steps=steps, log_every_steps=9) == [steps]


@pytest.mark.parametrize("label", ["mae", "mae-ct", "uamix-mae", "uamix-cutmix", "uamix-mixup"])
def test_no_step_of_the_audio_methods_waits(trained, label):
    track = smallest_track()
    params = track.pretrain(label, "instruments")
    method = method_class(params.method).from_params(params, (1, FRAMES, MELS), 4)
    kind = modality("audio")
    x = np.random.default_rng(0).normal(size=(24, FRAMES, MELS)).astype(np.float16)
    everything = params.augment.model_copy(update={"time_mask": 4, "mel_mask": 4, "roll": 0.1, "crop_probability": 0.5})
    examples = Examples(x, np.arange(24) % 4, kind.inputs, kind.augmentation(everything))
    training = params.encoder_step.training if hasattr(params, "encoder_step") else params.training
    assert trained(method, examples, training, max_steps=2) == [2]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x.detach().sum()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.argmax().tolist(),
        lambda x: x.cpu(),
        lambda x: torch.zeros(3).to(x.device),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.as_tensor(1.0, device=x.device),
    ],
)
def test_what_waits_would_be_found(trained, monkeypatch, read):
    method, examples, training = image_case("simclr")
    monkeypatch.setattr(method, "after_step", lambda step: read(method.projector.last.weight))
    with pytest.raises((Waiting, RuntimeError, NotImplementedError)):
        trained(method, examples, training, max_steps=2)


def test_a_queue_knows_its_length_again_after_loading():
    from contrastbench.models.prototypes import EmbeddingQueue

    queue, fresh = EmbeddingQueue(2, 4, 3), EmbeddingQueue(2, 4, 3)
    queue.push(1, torch.ones(4, 3))
    assert queue.full(1) and not queue.full(0) and not fresh.full(1)
    nn.ModuleList([fresh]).load_state_dict(nn.ModuleList([queue]).state_dict())
    assert fresh.full(1) and not fresh.full(0)


def test_what_the_host_draws_follows_from_how_far_the_device_has_drawn():
    def draw(seed: int, offset: int) -> list[int]:
        generator = MetaGenerator()
        generator.manual_seed(seed)
        generator.get_offset = lambda: offset
        return torch.randperm(50, generator=on_host(generator)).tolist()

    assert draw(1, 4) == draw(1, 4)
    assert len({tuple(draw(seed, offset)) for seed in range(5) for offset in range(0, 20, 4)}) == 25
    generator = torch.Generator()
    assert on_host(generator) is generator
