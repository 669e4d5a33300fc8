"""How a stored batch becomes tensors, and how it is augmented: images and spectrograms."""

from collections.abc import Callable

from torch import Generator, Tensor

from contrastbench.augment.audio import augment_spectrograms
from contrastbench.augment.images import augment_images, to_float
from contrastbench.datasets.store import Prepared
from contrastbench.params.audio import AudioAugmentParams
from contrastbench.params.base import Section
from contrastbench.params.images import AugmentParams


def to_tensor_for(data: Prepared) -> Callable[[Tensor], Tensor]:
    """Stored batch -> (B, C, H, W) float32: images in [0, 1]; spectrograms as one channel."""
    if data.meta.modality == "image":
        return to_float
    return lambda raw: raw.float().unsqueeze(1)


def augmentation_for(params: Section) -> Callable[[Tensor, Generator], Tensor]:
    """One random view of a batch, drawn from the generator; ``params`` says how, and for which modality."""
    if isinstance(params, AudioAugmentParams):
        return lambda spectrograms, generator: augment_spectrograms(spectrograms, params, generator)
    assert isinstance(params, AugmentParams)
    return lambda images, generator: augment_images(images, params, generator)


def input_shape(data: Prepared) -> tuple[int, int, int]:
    """(C, H, W) of one example as the encoder sees it."""
    shape = data.x("train").shape[1:]
    return (shape[2], shape[0], shape[1]) if data.meta.modality == "image" else (1, shape[0], shape[1])
