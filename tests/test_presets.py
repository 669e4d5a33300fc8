"""The preset ``paper`` at full width: two steps of ResNet-50 with the CIFAR stem, on a small batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contrastbench.methods import method_class
from contrastbench.modalities import modality
from contrastbench.params.root import load
from contrastbench.training.loop import Examples, train

TRACK = load("paper", Path(__file__).resolve().parent.parent).track("unremix")


def test_paper_is_hcls_recipe():
    """Specification of UnReMix, 2.1."""
    training, augment = TRACK.training, TRACK.augment
    assert (TRACK.encoder.architecture, TRACK.encoder.width, TRACK.encoder.stem_stride) == ("resnet50", 64, 1)
    assert (TRACK.projector.hidden, TRACK.projector.output) == (512, 128)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adam", 1e-3, 1e-6)
    assert (training.batch_size, training.epochs) == (256, 400)
    assert (training.warmup_epochs, training.final_learning_rate_fraction) == (0.0, 1.0)  # a constant rate
    assert TRACK.settings.hcl.model_dump() == {"temperature": 0.5, "tau_plus": 0.1, "beta": 1.0}
    assert (augment.crop_scale, augment.flip_probability) == ((0.08, 1.0), 0.5)
    assert (augment.brightness, augment.contrast, augment.saturation, augment.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (augment.jitter_probability, augment.grayscale_probability) == (0.8, 0.2)
    assert (augment.blur_kernel, augment.blur_sigma, augment.blur_probability) == (3, (0.1, 2.0), 0.5)
    assert set(TRACK.datasets) == {"cifar10", "cifar100", "stl10", "tinyimagenet"}
    assert len(TRACK.seeds) >= 3


@pytest.mark.parametrize("label", ["simclr", "unremix"])
def test_two_steps_at_full_width(tmp_path, label):
    """The preset's own parameters, but for the batch and the precision, which a CPU has no hardware for."""
    params = TRACK.pretrain(label, "cifar10")
    training = params.training.model_copy(update={"batch_size": 4, "max_steps": 2, "precision": "32-true"})
    torch.manual_seed(0)
    method = method_class(params.method).from_params(params, (3, 32, 32), 10)
    assert method.encoder.features == 2048 and method.projector.last.out_features == 128
    trunk = sum(parameter.numel() for parameter in method.encoder.trunk.parameters())
    assert 23_400_000 < trunk < 23_600_000  # ResNet-50 without its classifier
    before = [parameter.detach().clone() for parameter in method.parameters()]
    x = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    images = modality("image")
    data = Examples(x, np.arange(8) % 2, images.inputs, images.augmentation(params.augment))
    log = train(method, data, training, seed=0, checkpoint=tmp_path / "c", identity="x", show_progress=False)
    assert log.steps == 2 and np.isfinite(log.history[-1]["loss"])
    assert all((old != new).any() for old, new in zip(before, method.parameters(), strict=True))
