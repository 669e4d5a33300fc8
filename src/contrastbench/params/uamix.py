"""Parameters of the uaMix-MAE track: an audio MAE, and its tuning by instance discrimination in two steps.

Where the specification of uaMix-MAE lists an unknown (section 5), the default in params.yaml is its choice.
"""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from contrastbench.params.audio import (
    AudioAttackParams,
    AudioAugmentParams,
    FewShotParams,
    FrontEndParams,
    LowShotParams,
)
from contrastbench.params.base import Section
from contrastbench.params.dataset_names import AudioDatasets, require_audio
from contrastbench.params.evaluation import PretrainParams, ScratchParams
from contrastbench.params.track import NoSettings, TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.vit import DecoderParams, ViTParams

Size = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class HeadParams(Section):
    """Contrastive head. MAE-CT: projector 2048-2048-256, predictor 4096-256, queue 65,536."""

    projector_hidden: Size
    output: Size
    predictor_hidden: Size
    queue: int = Field(ge=2)


class NegativeWeights(Section):
    """UnReMix's weights of the negatives (``UnReMixSettings``), read where ``objective`` is ``unremix``."""

    weights: tuple[NonNegative, NonNegative, NonNegative]
    uncertainty: Literal["norm", "gradsim", "infonce_z"]
    pseudo_label: Literal["argmax", "alignment"]
    normalization: Literal["minmax", "softmix", "exp"]
    beta: NonNegative
    distance: Literal["euclidean", "cosine"]
    detach_weights: bool

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> "NegativeWeights":
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights {list(self.weights)} must sum to 1, not {sum(self.weights):g}")
        return self


class MAECTSettings(Section):
    """Tuning without mixing, on two augmented views.

    objective  ``nnclr``: neighbours from the queue are the positives; ``unremix``: the other view is, and the
               negatives of the batch are weighted by ``negatives``
    symmetric  both sides are predicted (NNCLR's and MAE-CT's code); False: the second side only
    """

    objective: Literal["nnclr", "unremix"]
    temperature: Positive
    symmetric: bool
    negatives: NegativeWeights


class UaMixSettings(MAECTSettings):
    """Tuning with mixtures.

    mixing             ``t-cutmix``, ``cutmix`` (2-D), ``mixup``, or ``none``
    alpha              of lambda ~ Beta(alpha, alpha)
    mix_labels         False: mixing in the input only, each mixture is labelled as its own sample
    augment_mixture    False: mixtures are made of raw spectrograms, as Fig-A draws; True: of augmented ones
    clean_loss_weight  weight of an added unmixed loss on two augmented views (Un-Mix and MixCo have one)
    """

    mixing: Literal["t-cutmix", "cutmix", "mixup", "none"]
    alpha: Positive
    mix_labels: bool
    augment_mixture: bool
    clean_loss_weight: NonNegative


class JointSettings(Section):
    """Naive joint training from scratch: reconstruction loss + ``contrast_weight`` * NNCLR."""

    contrast_weight: Positive
    temperature: Positive
    top_k: Size


class AudioSettings(Section):
    """One section per method."""

    mae: NoSettings
    mae_joint: JointSettings
    mae_ct: MAECTSettings
    uamix_mae: UaMixSettings


class HeadStepParams(Section):
    """Tuning step 1: the encoder is frozen, the head is learned; queue entries come from the projector itself.

    ``training.learning_rate`` and ``weight_decay`` are the head's.
    """

    training: TrainingParams
    top_k: Size


class EncoderStepParams(Section):
    """Tuning step 2: the upper part of the encoder and the head are learned.

    training           its learning rate and weight decay are the encoder's, before ``layer_decay``
    head_learning_rate, head_weight_decay  the head's
    top_k              the neighbour is drawn from that many
    ema_momentum       of the EMA projector that makes queue entries and look-up queries
    frozen_blocks      so many of the lowest blocks stay as they are, with patch embedding, positions, class token
    layer_decay        block l of L (0-based) learns at layer_decay^(L - l) times the rate, the final norm at the rate
    """

    training: TrainingParams
    head_learning_rate: Positive
    head_weight_decay: NonNegative
    top_k: Size
    ema_momentum: float = Field(ge=0, le=1)
    frozen_blocks: int = Field(ge=0)
    layer_decay: float = Field(gt=0, le=1)


class TuningParams(Section):
    """Progressive retraining (specification, Fig-A): the head, then both steps."""

    head: HeadParams
    head_step: HeadStepParams
    encoder_step: EncoderStepParams

    @model_validator(mode="after")
    def _queue_is_large_enough(self) -> "TuningParams":
        for name, step in (("head_step", self.head_step), ("encoder_step", self.encoder_step)):
            if step.training.batch_size > self.head.queue:
                raise ValueError(
                    f"head.queue {self.head.queue} must hold a batch of {name} ({step.training.batch_size})"
                )
            if step.top_k > self.head.queue:
                raise ValueError(f"{name}.top_k {step.top_k} must be at most head.queue ({self.head.queue})")
        return self


class PretrainingParams(Section):
    """Training of the masked autoencoder (and of ``mae-joint``); ``augment`` is what it sees.

    checkpoint  file of an imported encoder (AudioMAE's or timm's format) to use in place of training; null trains
    """

    training: TrainingParams
    augment: AudioAugmentParams
    mask_ratio: Share
    checkpoint: str | None


class AudioPretrainParams(ScratchParams):
    """What the stage ``pretrain`` reads for ``mae`` and ``random``."""

    modality = "audio"
    encoder: ViTParams
    decoder: DecoderParams
    mask_ratio: float
    checkpoint: str | None
    augment: AudioAugmentParams
    training: TrainingParams
    settings: SerializeAsAny[Section]


class JointPretrainParams(AudioPretrainParams):
    """What the stage ``pretrain`` reads for ``mae-joint``, which has a contrastive head as well."""

    head: HeadParams


class TuneParams(PretrainParams):
    """What the stage ``tune`` reads: the tuning itself, and the MAE that it starts from."""

    modality = "audio"
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


JudgingParams = FewShotParams | LowShotParams | AudioAttackParams


class UaMixTrack(TrackParams):
    """The track's section of params.yaml. ``augment`` makes the views that are contrasted (the DA of Fig-A)."""

    modality = "audio"

    datasets: AudioDatasets
    front_end: FrontEndParams
    encoder: ViTParams
    decoder: DecoderParams
    pretraining: PretrainingParams
    augment: AudioAugmentParams
    tuning: TuningParams
    settings: AudioSettings
    few_shot: FewShotParams
    low_shot: LowShotParams
    audio_attack: AudioAttackParams

    @field_validator("few_shot", "low_shot", "audio_attack")
    @classmethod
    def _judged_data_are_known(cls, params: JudgingParams) -> JudgingParams:
        columns = params.class_of if isinstance(params, FewShotParams) else {}
        for name in (*params.datasets, *(name for names in params.datasets.values() for name in names), *columns):
            require_audio(name)
        return params

    @model_validator(mode="after")
    def _sizes_fit(self) -> "UaMixTrack":
        patch, depth = self.encoder.patch, self.encoder.depth
        if self.front_end.frames % patch or self.front_end.mels % patch:
            raise ValueError(f"front_end.frames and front_end.mels must be multiples of encoder.patch ({patch})")
        if self.tuning.encoder_step.frozen_blocks > depth:
            raise ValueError(f"tuning.encoder_step.frozen_blocks must be at most encoder.depth ({depth})")
        return self

    def pretrain(self, label: str, dataset: str) -> PretrainParams:
        """The resolved parameters of one method or variant: what its stage, ``pretrain`` or ``tune``, reads."""
        method = self.base_method(label)
        settings = self.checked_settings(label)
        if isinstance(settings, MAECTSettings):
            return TuneParams(
                track="uamix",
                method=method,
                encoder=self.encoder,
                head=self.tuning.head,
                augment=self.augment,
                head_step=self.tuning.head_step,
                encoder_step=self.tuning.encoder_step,
                settings=settings,
                start=self._autoencoder("mae", self.settings.mae),
            )
        if isinstance(settings, JointSettings):
            plain = self._autoencoder(method, settings)
            return JointPretrainParams(
                **dict(plain) | {"augment": self.augment, "checkpoint": None}, head=self.tuning.head
            )
        return self._autoencoder(method, settings)

    def _autoencoder(self, method: str, settings: Section) -> AudioPretrainParams:
        return AudioPretrainParams(
            track="uamix",
            method=method,
            encoder=self.encoder,
            decoder=self.decoder,
            mask_ratio=self.pretraining.mask_ratio,
            checkpoint=self.pretraining.checkpoint,
            augment=self.pretraining.augment,
            training=self.pretraining.training,
            settings=settings,
        )
