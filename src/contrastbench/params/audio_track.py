"""A track of sound: a masked autoencoder on spectrograms, and its tuning by instance discrimination in two steps.

Where the specification of uaMix-MAE lists an unknown (section 5), the default in params.yaml is its choice.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from contrastbench.params.audio import AudioAugmentParams, FrontEndParams
from contrastbench.params.base import Section, SectionFrom
from contrastbench.params.evaluation import PretrainParams, ScratchParams
from contrastbench.params.settings import MethodSettings, settings_of_modality
from contrastbench.params.settings_autoencoder import JointSettings
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.tuning import EncoderStepParams, HeadParams, HeadStepParams, TwoStepTuningParams
from contrastbench.params.values import Share
from contrastbench.params.vit import DecoderParams, Target, ViTParams
from contrastbench.registry import starts_from


class PretrainingParams(Section):
    """Training of the masked autoencoder (and of ``mae-joint``); ``augment`` is what it sees.

    target      what is predicted of a hidden patch: its pixels as the encoder sees them (``raw``), those of the
                spectrogram at mean 0 and variance 1 (``standardised``), or each patch at mean 0 and variance 1
                (``normalised``: AudioMAE's, with patches of 16 of 128 mel bins)
    checkpoint  file of an imported encoder (AudioMAE's or timm's format) to use in place of training; null trains
    """

    training: TrainingParams
    augment: AudioAugmentParams
    mask_ratio: Share
    target: Target
    checkpoint: str | None = Field(min_length=1)


class AudioPretrainParams(ScratchParams):
    """What the stage ``pretrain`` reads for ``mae`` and ``random``."""

    modality: ClassVar[str] = "audio"
    encoder: ViTParams
    decoder: DecoderParams
    mask_ratio: float
    target: Target
    checkpoint: str | None
    augment: AudioAugmentParams
    training: TrainingParams
    settings: SerializeAsAny[Section]


class JointPretrainParams(AudioPretrainParams):
    """What the stage ``pretrain`` reads for ``mae-joint``, which has a contrastive head as well."""

    head: HeadParams


class TuneParams(PretrainParams):
    """What the stage ``tune`` reads: the tuning itself, and the MAE that it starts from."""

    modality: ClassVar[str] = "audio"
    encoder: ViTParams
    head: HeadParams
    augment: AudioAugmentParams
    head_step: HeadStepParams
    encoder_step: EncoderStepParams
    settings: SerializeAsAny[Section]
    start: AudioPretrainParams

    def phases(self) -> tuple[TrainingParams, ...]:
        """The two steps."""
        return self.head_step.training, self.encoder_step.training


class AudioTrack(TrackParams):
    """A section of params.yaml. ``augment`` makes the views that are contrasted (the DA of Fig-A)."""

    modality: ClassVar[str] = "audio"
    refuses: ClassVar[dict[str, str]] = {
        "corruptions": "this section corrupts images",
        "robustness": "this section attacks images",
    }

    front_end: FrontEndParams
    encoder: ViTParams
    decoder: DecoderParams
    pretraining: PretrainingParams
    augment: AudioAugmentParams
    tuning: TwoStepTuningParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("audio"))]

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        patch, depth = self.encoder.patch, self.encoder.depth
        if self.front_end.frames % patch or self.front_end.mels % patch:
            raise ValueError(f"front_end.frames and front_end.mels must be multiples of encoder.patch ({patch})")
        if self.tuning.encoder_step.frozen_blocks > depth:
            raise ValueError(f"tuning.encoder_step.frozen_blocks must be at most encoder.depth ({depth})")
        return self

    def require_fit(self, label: str, settings: MethodSettings) -> None:
        """Also: a head that is trained from scratch has a queue for its batches and neighbours."""
        super().require_fit(label, settings)
        queue, batch_size = self.tuning.head.queue, self.pretraining.training.batch_size
        if isinstance(settings, JointSettings) and max(settings.top_k, batch_size) > queue:
            raise ValueError(
                f"tuning.head.queue {queue} must hold top_k ({settings.top_k}) and a pretraining batch ({batch_size})"
            )

    def training_of(self, label: str) -> tuple[TrainingParams, ...]:
        """The autoencoder's training run, or the two steps of a tuned method."""
        if starts_from(self.base_method(label)):
            return self.tuning.head_step.training, self.tuning.encoder_step.training
        return (self.pretraining.training,)

    def pretrain(self, label: str, dataset: str) -> PretrainParams:
        """The resolved parameters of one method or variant: what its stage, ``pretrain`` or ``tune``, reads."""
        method, settings = self.base_method(label), self.checked_settings(label)
        start = starts_from(method)
        if start is None:
            return self._from_scratch(method, settings)
        return TuneParams(
            track=self._name,
            method=method,
            encoder=self.encoder,
            head=self.tuning.head,
            augment=self.augment,
            head_step=self.tuning.head_step,
            encoder_step=self.tuning.encoder_step,
            settings=settings,
            start=self._from_scratch(start, self.checked_settings(start)),
        )

    def _from_scratch(self, method: str, settings: MethodSettings) -> AudioPretrainParams:
        plain = AudioPretrainParams(
            track=self._name,
            method=method,
            encoder=self.encoder,
            decoder=self.decoder,
            mask_ratio=self.pretraining.mask_ratio,
            target=self.pretraining.target,
            checkpoint=self.pretraining.checkpoint,
            augment=self.pretraining.augment,
            training=self.pretraining.training,
            settings=settings,
        )
        if not isinstance(settings, JointSettings):
            return plain
        return JointPretrainParams(**dict(plain) | {"augment": self.augment, "checkpoint": None}, head=self.tuning.head)
