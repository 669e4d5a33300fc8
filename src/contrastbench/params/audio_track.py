"""A track of sound: a masked autoencoder on spectrograms, and its tuning by instance discrimination in two steps.

Where the specification of uaMix-MAE lists an unknown (section 5), the default in params.yaml is its choice.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SerializeAsAny, model_validator

from contrastbench.params.audio import AudioAugmentParams, FrontEndParams
from contrastbench.params.base import Section, SectionFrom, refusal
from contrastbench.params.evaluation import PretrainParams, ScratchParams
from contrastbench.params.images import EncoderParams
from contrastbench.params.settings import settings_of_modality
from contrastbench.params.settings_autoencoder import JointSettings
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.tuning import EncoderStepParams, HeadParams, HeadStepParams, TwoStepTuningParams
from contrastbench.params.values import Share
from contrastbench.params.variants import AudioVariant, Label, Variant
from contrastbench.params.vit import DecoderParams, Target, ViTParams
from contrastbench.registry import METHODS, starts_from

START = "-start"  # ends the label of the encoder that a variant starts from, where it is the variant's own
ANY_ENCODER = ("frozen", "random")  # methods that train nothing, and so take a network of any form
PRETRAINED_BY = ("encoder", "decoder", "pretraining")  # sections by which that encoder is trained


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


class LibrarySoundParams(ScratchParams):
    """What the stage ``pretrain`` reads for a network of images that takes spectrograms, and is not trained."""

    modality: ClassVar[str] = "library-sound"
    encoder: EncoderParams
    training: TrainingParams
    settings: SerializeAsAny[Section]


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
    changed: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "pretraining", "augment", "tuning")
    variant_class: ClassVar[type[Variant]] = AudioVariant

    front_end: FrontEndParams
    variants: Mapping[Label, AudioVariant]
    encoder: ViTParams
    decoder: DecoderParams
    pretraining: PretrainingParams
    augment: AudioAugmentParams
    tuning: TwoStepTuningParams
    settings: Annotated[Section, SectionFrom(lambda: settings_of_modality("audio"))]

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        self._require_sizes(self.encoder, self.tuning)
        return self

    @model_validator(mode="after")
    def _no_label_is_a_starts(self) -> Self:
        for label in self.variants:
            if self._started_by(label):
                message = f"is what {self._started_by(label)!r} would start from; choose another name"
                raise refusal(message, "variants", label)
        return self

    def _require_sizes(self, encoder: ViTParams, tuning: TwoStepTuningParams) -> None:
        """ValueError where patches do not fill the spectrogram, or more blocks are frozen than there are."""
        if self.front_end.frames % encoder.patch or self.front_end.mels % encoder.patch:
            raise ValueError(
                f"front_end.frames and front_end.mels must be multiples of encoder.patch ({encoder.patch})"
            )
        if tuning.encoder_step.frozen_blocks > encoder.depth:
            raise ValueError(f"tuning.encoder_step.frozen_blocks must be at most encoder.depth ({encoder.depth})")

    def require_fit(self, method: str, sections: Mapping[str, Any]) -> None:
        """Also: a ready encoder is named, sizes fit, and a head trained from scratch has a queue for its batches."""
        super().require_fit(method, sections)
        if sections["encoder"].architecture and method not in (*ANY_ENCODER, "log-mel"):
            raise ValueError(f"{method} is of the track's own transformer; encoder.architecture is for frozen, random")
        if method == "frozen" and sections["pretraining"].checkpoint is None:
            raise ValueError("frozen judges a ready encoder; name its file of weights in pretraining.checkpoint")
        self._require_sizes(sections["encoder"], sections["tuning"])
        settings, queue = sections["settings"], sections["tuning"].head.queue
        batch_size = sections["pretraining"].training.batch_size
        if isinstance(settings, JointSettings) and max(settings.top_k, batch_size) > queue:
            raise ValueError(
                f"tuning.head.queue {queue} must hold top_k ({settings.top_k}) and a pretraining batch ({batch_size})"
            )

    def modality_of(self, label: str) -> str:
        """``library-sound`` where the encoder is a library's."""
        of_a_library = _is_of_a_library(self.base_method(label), self.sections_of(label)["encoder"])
        return "library-sound" if of_a_library else self.modality

    def start_of(self, label: str) -> str | None:
        """The method that ``label`` starts from; ``LABEL-start`` where a variant trains that one in another way."""
        start = super().start_of(label)
        if start is None:
            return None
        params = self.pretrain(label, "")
        assert isinstance(params, TuneParams)
        return start if params.start == self.pretrain(start, "") else f"{label}{START}"

    def variant(self, label: str) -> Variant | None:
        """The variant of this label, be it a trial's or what a variant starts from; None for a method."""
        started = self._started_by(label)
        if started is None:
            return super().variant(label)
        changes = self._named(started).changes()
        return AudioVariant(method=self.base_method(label), **{name: changes[name] for name in PRETRAINED_BY})

    def base_method(self, label: str) -> str:
        """The registered method behind a method's name or a variant's label, or behind what a variant starts from."""
        started = self._started_by(label)
        return (started and starts_from(self.base_method(started))) or super().base_method(label)

    def _started_by(self, label: str) -> str | None:
        """The variant, or trial, that may start from an encoder of this label; None where there is none."""
        started = label.removesuffix(START)
        base = super().base_method(started)
        return started if started != label and base in METHODS and starts_from(base) else None

    def resolve(self, method: str, sections: Mapping[str, Any]) -> PretrainParams:
        """What the stage ``pretrain`` or ``tune`` reads for a method."""
        if _is_of_a_library(method, sections["encoder"]):
            return self._of_a_library(method, sections)
        start = starts_from(method)
        if start is None:
            return self._from_scratch(method, sections)
        tuning: TwoStepTuningParams = sections["tuning"]
        return TuneParams(
            track=self._name,
            method=method,
            encoder=sections["encoder"],
            head=tuning.head,
            augment=sections["augment"],
            head_step=tuning.head_step,
            encoder_step=tuning.encoder_step,
            settings=sections["settings"],
            start=self._from_scratch(start, {**sections, "settings": self._of_method(start)}),
        )

    def _of_a_library(self, method: str, sections: Mapping[str, Any]) -> LibrarySoundParams:
        """Spectrograms are normalised already; ``random`` imports nothing."""
        pretraining: PretrainingParams = sections["pretraining"]
        named = sections["encoder"].model_dump(include={"architecture", "input_size", "grey_as_colour"})
        if method == "frozen":
            named["pretrained"] = pretraining.checkpoint
        return LibrarySoundParams(
            track=self._name,
            method=method,
            encoder=EncoderParams(**named, mean=(0.0,), std=(1.0,)),
            augment=pretraining.augment,
            training=pretraining.training,
            settings=sections["settings"],
        )

    def _from_scratch(self, method: str, sections: Mapping[str, Any]) -> AudioPretrainParams:
        pretraining: PretrainingParams = sections["pretraining"]
        plain = AudioPretrainParams(
            track=self._name,
            method=method,
            encoder=sections["encoder"],
            decoder=sections["decoder"],
            mask_ratio=pretraining.mask_ratio,
            target=pretraining.target,
            checkpoint=pretraining.checkpoint,
            augment=pretraining.augment,
            training=pretraining.training,
            settings=sections["settings"],
        )
        if not isinstance(sections["settings"], JointSettings):
            return plain
        own = {"augment": sections["augment"], "checkpoint": None}
        return JointPretrainParams(**dict(plain) | own, head=sections["tuning"].head)


def _is_of_a_library(method: str, encoder: ViTParams) -> bool:
    return bool(encoder.architecture) and method in ANY_ENCODER
