"""Parameters of the UnReMix track: SimCLR, DCL, HCL, MoCHi and UnReMix on images.

Where the specification of UnReMix lists an unknown (section 5), the default in params.yaml is its choice.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from contrastbench.params.base import Section, without_repeats
from contrastbench.params.dataset_names import ImageDataset, ImageDatasets
from contrastbench.params.evaluation import ScratchParams
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.track import TrackParams
from contrastbench.params.training import TrainingParams

Temperature = Annotated[float, Field(gt=0)]
TauPlus = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]


class SimCLRSettings(Section):
    """NT-Xent."""

    temperature: Temperature


class DCLSettings(Section):
    """Debiased contrastive loss; ``tau_plus`` is the assumed share of false negatives."""

    temperature: Temperature
    tau_plus: TauPlus


class HCLSettings(Section):
    """Hard-negative contrastive loss; ``beta`` is the concentration on hard negatives."""

    temperature: Temperature
    tau_plus: TauPlus
    beta: NonNegative


class MoCHiSettings(Section):
    """Synthetic negatives from each anchor's ``hardest`` negatives, in-batch."""

    temperature: Temperature
    hardest: int = Field(ge=2)
    mixed_negatives: int = Field(ge=0)
    mixed_with_query: int = Field(ge=0)


class UnReMixSettings(Section):
    """Every switch of the specification's section 1.4.

    weights        lambda_1 (uncertainty), lambda_2 (anchor similarity), lambda_3 (representativeness)
    uncertainty    ``norm`` of the last layer's gradient, ``gradsim`` (its inner product with the anchor's), or
                   ``infonce_z`` (a control: monotone in anchor similarity)
    pseudo_label   ``argmax`` of the posterior over the batch, or ``alignment`` (the sample's own other view)
    normalization  ``minmax`` over each anchor's negatives, ``softmix`` or ``exp``, the latter two with ``beta``
    negatives      ``both`` views (2B - 2) or the ``other`` view only (B - 1)
    """

    temperature: Temperature
    weights: tuple[NonNegative, NonNegative, NonNegative]
    uncertainty: Literal["norm", "gradsim", "infonce_z"]
    pseudo_label: Literal["argmax", "alignment"]
    normalization: Literal["minmax", "softmix", "exp"]
    beta: NonNegative
    distance: Literal["euclidean", "cosine"]
    negatives: Literal["both", "other"]
    detach_weights: bool
    tau_plus: TauPlus

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> "UnReMixSettings":
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights {list(self.weights)} must sum to 1, not {sum(self.weights):g}")
        return self


class ContrastiveSettings(Section):
    """One section per method."""

    simclr: SimCLRSettings
    dcl: DCLSettings
    hcl: HCLSettings
    mochi: MoCHiSettings
    unremix: UnReMixSettings


class ImagePretrainParams(ScratchParams):
    """What training an image method reads."""

    modality = "image"
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    settings: SerializeAsAny[Section]


class Transfer(Section):
    """Train on one data set, probe on another; ``label`` names the pair in rows and paths."""

    train: ImageDataset
    probe: ImageDataset

    @property
    def label(self) -> str:
        """The data set's name in rows."""
        return f"{self.train}-to-{self.probe}"


class UnReMixTrack(TrackParams):
    """The track's section of params.yaml."""

    modality = "image"

    datasets: ImageDatasets
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: ContrastiveSettings
    transfer: Annotated[tuple[Transfer, ...], AfterValidator(without_repeats)]

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant (the same for every data set)."""
        return ImagePretrainParams(
            track="unremix",
            method=self.base_method(label),
            encoder=self.encoder,
            projector=self.projector,
            augment=self.augment,
            training=self.training,
            settings=self.checked_settings(label),
        )
