"""A track of images: an encoder and a projector, trained in one go."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from contrastbench.params.base import Section, SectionFrom, refusal
from contrastbench.params.diagnostics import DiagnosticsParams
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.variants import ImageVariant, Label, Variant
from contrastbench.registry import METHODS, contrasts, hint


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
    variant_class: ClassVar[type[Variant]] = ImageVariant

    variants: Mapping[Label, ImageVariant]
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("image"))]
    diagnostics: DiagnosticsParams | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _common_encoder_contrasts(self) -> Self:
        """Its loss is like NT-Xent's, and so it has the projector that looking needs."""
        encoder = self.diagnostics.encoder if self.diagnostics else None
        if encoder and not contrasts(self.base_method(encoder)):
            known = [name for name in (*METHODS, *self.variants) if contrasts(self.base_method(name))]
            message = f"is no method that contrasts two views of a batch; {hint(encoder, known)}"
            raise refusal(message, "diagnostics", "encoder", value=encoder)
        return self

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant."""
        params = super().pretrain(label, dataset)
        assert isinstance(params, ImagePretrainParams)
        return params

    def resolve(self, method: str, sections: Mapping[str, Any]) -> ImagePretrainParams:
        """What training a method reads: all of it."""
        return ImagePretrainParams(track=self._name, method=method, **sections)
