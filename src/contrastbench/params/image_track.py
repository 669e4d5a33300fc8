"""A track of images: an encoder and a projector, trained in one go."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import SerializeAsAny

from contrastbench.params.base import Section, SectionFrom
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.variants import ImageVariant, Label


class ImagePretrainParams(ScratchParams):
    """What training an image method reads."""

    modality: ClassVar[str] = "image"
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    settings: SerializeAsAny[Section]


class ImageTrack(TrackParams):
    """A section of params.yaml."""

    modality: ClassVar[str] = "image"
    refuses: ClassVar[dict[str, str]] = {"audio_attack": "this section attacks sound"}
    changed: ClassVar[tuple[str, ...]] = ("encoder", "projector", "augment", "training")

    variants: Mapping[Label, ImageVariant]
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("image"))]

    def training_of(self, label: str) -> tuple[TrainingParams, ...]:
        """The one training run: the same for all methods, and for variants that do not change it."""
        return (self.sections_of(label)["training"],)

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant (the same for every data set)."""
        return ImagePretrainParams(
            track=self._name,
            method=self.base_method(label),
            settings=self.checked_settings(label),
            **self.sections_of(label),
        )
