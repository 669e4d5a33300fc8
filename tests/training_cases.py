"""Small digits, small networks and training steps, shared by the tests of the SwARo track."""

from functools import cache

import torch
from conftest import REPOSITORY
from sklearn.datasets import load_digits
from torch import Tensor

from contrastbench.augment.images import augment_images
from contrastbench.methods import Batch, Method, Step, method_class
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.root import load
from contrastbench.training.seeds import generator_for

AUGMENT = AugmentParams(
    crop_scale=(0.5, 1.0),
    crop_ratio=(0.75, 1.3333),
    flip_probability=0.0,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.0,
    hue=0.0,
    grayscale_probability=0.0,
    blur_probability=0.0,
    blur_kernel=3,
    blur_sigma=(0.1, 2.0),
)
SMALL = {
    "encoder": EncoderParams(architecture="resnet-slim", width=8, stem_stride=1),
    "augment": AUGMENT,
}


@cache
def images_and_labels(count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` of scikit-learn's digits, (count, 1, 8, 8) in [0, 1]."""
    digits = load_digits()
    images = torch.from_numpy(digits.images[:count]).float().unsqueeze(1) / 16
    return images, torch.from_numpy(digits.target[:count]).long()


def params_of(name: str, embedding: int = 16, **settings: object) -> ImagePretrainParams:
    """The default parameters of a method, on a small network with embeddings of 16 and with changed settings."""
    known = load(root=REPOSITORY)
    has_its_own = name.replace("-", "_") in known.swaro.settings.model_fields_set
    params = (known.swaro if has_its_own else known.unremix).pretrain(name, "digits")
    known = params.settings
    changed = type(known).model_validate(known.model_dump() | settings)
    return params.model_copy(
        update=SMALL | {"settings": changed, "projector": ProjectorParams(hidden=32, output=embedding)}
    )


def make_method(name: str, seed: int = 0, **settings: object) -> Method:
    """A freshly initialised method on the small network, in train mode."""
    torch.manual_seed(seed)
    return method_class(name).from_params(params_of(name, **settings), (1, 8, 8), 10).train()


def step_of(number: int, seed: int = 0, per_epoch: int = 10) -> Step:
    """One step of a run of 1,000."""
    return Step(number, 1000, per_epoch, generator_for(torch.device("cpu"), "test", seed, number))


def views_of(method: Method, count: int, seed: int = 0) -> Batch:
    """The first ``count`` digits with as many views as the method wants."""
    images, labels = images_and_labels(count)
    generator = generator_for(torch.device("cpu"), "views", seed)
    views = [augment_images(images, AUGMENT, generator) for _ in range(method.number_of_views)]
    return Batch(images, views, torch.arange(count), labels if method.uses_labels else None)


def train_on(method: Method, steps: int, batch_size: int = 64, seed: int = 0) -> list[float]:
    """Train with Adam on 512 digits; returns the loss of every step."""
    images, labels = images_and_labels(512)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    losses = []
    for number in range(steps):
        step = step_of(number, seed)
        index = torch.randint(len(images), (batch_size,), generator=step.generator)
        views = [augment_images(images[index], AUGMENT, step.generator) for _ in range(method.number_of_views)]
        batch = Batch(images[index], views, index, labels[index] if method.uses_labels else None)
        output = method.training_step(batch, step)
        optimizer.zero_grad(set_to_none=True)
        output["loss"].backward()
        method.after_backward(step)
        optimizer.step()
        method.after_step(step)
        losses.append(float(output["loss"].detach()))
    return losses
