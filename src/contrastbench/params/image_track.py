"""A track of images: an encoder and a projector, trained in one go."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import SerializeAsAny

from contrastbench.params.base import Section, SectionFrom
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.variants import ImageVariant, Label, Variant


class ImagePretrainParams(ScratchParams):
    """What training an image method reads."""

    modality: ClassVar[str] = "image"
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    settings: SerializeAsAny[Section]


class LibraryImagePretrainParams(ImagePretrainParams):
    """The same with an encoder that is not ours alone: a library's, or one that is resized for or starts from a file.

    It counts as other code (``modalities/library_images.py``), so that what ours have measured stays.
    """

    modality: ClassVar[str] = "library-image"


class ImageTrack(TrackParams):
    """A section of params.yaml."""

    modality: ClassVar[str] = "image"
    refuses: ClassVar[dict[str, str]] = {"audio_attack": "this section attacks sound"}
    changed: ClassVar[tuple[str, ...]] = ("encoder", "projector", "augment", "training")
    variant_class: ClassVar[type[Variant]] = ImageVariant

    variants: Mapping[Label, ImageVariant]
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("image"))]

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant."""
        params = super().pretrain(label, dataset)
        assert isinstance(params, ImagePretrainParams)
        return params

    def require_fit(self, method: str, sections: Mapping[str, Any]) -> None:
        """Also: a ready encoder is named."""
        super().require_fit(method, sections)
        if method == "frozen" and not sections["encoder"].pretrained:
            raise ValueError("frozen judges a ready encoder; name its file of weights in encoder.pretrained")

    def modality_of(self, label: str) -> str:
        """``library-image`` where the encoder is not ours alone."""
        return _class_for(self.sections_of(label)["encoder"].read_by(self.base_method(label))).modality

    def resolve(self, method: str, sections: Mapping[str, Any]) -> ImagePretrainParams:
        """What training a method reads: all of it, but what it makes no use of in ``encoder``."""
        encoder = sections["encoder"].read_by(method)
        return _class_for(encoder)(track=self._name, method=method, **{**sections, "encoder": encoder})


def _class_for(encoder: EncoderParams) -> type[ImagePretrainParams]:
    return ImagePretrainParams if encoder.is_plain else LibraryImagePretrainParams
