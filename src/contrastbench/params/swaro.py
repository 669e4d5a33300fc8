"""Parameters of the SwARo track: clean, adversarial and supervised training of image encoders.

Where the specification of SwARo lists an unknown (section 5), the default in presets/paper.yaml is its choice;
params.yaml scales it down to grey digits.
"""

from typing import Literal

from pydantic import Field, model_validator

from contrastbench.params.base import Section
from contrastbench.params.dataset_names import ImageDatasets
from contrastbench.params.images import AugmentParams, EncoderParams, ProjectorParams
from contrastbench.params.robustness import Epsilon, RobustnessParams
from contrastbench.params.track import NoSettings, TrackParams
from contrastbench.params.training import TrainingParams
from contrastbench.params.unremix import ImagePretrainParams, NonNegative, SimCLRSettings, Temperature
from contrastbench.registry import WITHOUT_ENCODER


class AttackSettings(Section):
    """The l_inf attack inside training, on pixels in [0, 1]; fractions such as 8/255 may be written as such."""

    eps: Epsilon
    step_size: Epsilon
    steps: int = Field(ge=1)


class SwAVSettings(Section):
    """SwAV (specification 1.2).

    queue_length       embeddings kept per assigning view, 0 for no queue; must make up for a batch below ``prototypes``
    queue_start_epoch  epoch from which the queue fills; it counts once it is full
    freeze_epochs      so long the prototypes get no gradient
    codes              ``soft``, or rounded to one-hot (``argmax``)
    """

    prototypes: int = Field(ge=2)
    temperature: Temperature
    sinkhorn_epsilon: float = Field(gt=0)
    sinkhorn_iterations: int = Field(ge=1)
    queue_length: int = Field(ge=0)
    queue_start_epoch: NonNegative
    freeze_epochs: NonNegative
    codes: Literal["soft", "argmax"]


class SwARoSettings(SwAVSettings, AttackSettings):
    """SwARo: every switch of the specification's sections 1.3 and 1.4.

    target        what the attack moves view 1 to: the ``permuted`` code of another image, a ``random-prototype``, or
                  away from its own code (``own-untargeted``)
    cluster_test  only rows whose target lies in another cluster are attacked towards it
    failing_rows  the others: attacked ``untargeted``, away from their own code, or left ``clean``
    loss          ``replace`` trains on (adversarial, view 2), ``add`` on (view 1, view 2, adversarial),
                  ``clean-codes`` on (adversarial, view 2) with codes of the clean views only
    """

    target: Literal["permuted", "own-untargeted", "random-prototype"]
    cluster_test: bool
    failing_rows: Literal["untargeted", "clean"]
    loss: Literal["replace", "add", "clean-codes"]


class RoCLSettings(AttackSettings):
    """RoCL: ``regularization`` weighs the additional NT-Xent(adversarial, view 2).

    ``reforward_target`` forwards view 2 again in every step of the attack, as the authors' code does; without it the
    same embeddings are computed once, and the attack is the same.
    """

    temperature: Temperature
    regularization: NonNegative
    reforward_target: bool


class ACLSettings(AttackSettings):
    """ACL, dual stream."""

    temperature: Temperature


class CLAESettings(Section):
    """CLAE: ``weight`` (alpha) of the adversarial term, whose views come from one FGSM step of size ``eps``."""

    temperature: Temperature
    eps: Epsilon
    weight: NonNegative


class TRADESSettings(AttackSettings):
    """TRADES: ``beta`` weighs the divergence between clean and adversarial predictions."""

    beta: NonNegative


class SwaroSettings(Section):
    """One section per method."""

    simclr: SimCLRSettings
    swav: SwAVSettings
    rocl: RoCLSettings
    acl: ACLSettings
    clae: CLAESettings
    swaro: SwARoSettings
    supervised: NoSettings
    pgd_at: AttackSettings
    trades: TRADESSettings


def check_columns(settings: Section, batch_size: int) -> None:
    """Refuse more prototypes than embeddings to spread over them: Sinkhorn's masses would be fractions of a sample."""
    if not isinstance(settings, SwAVSettings):
        return
    columns = batch_size + settings.queue_length
    if settings.prototypes > columns:
        queue = f"the queue of {settings.queue_length}" if settings.queue_length else "no queue"
        raise ValueError(
            f"prototypes {settings.prototypes} exceed the {columns} embeddings of a batch of {batch_size} and {queue}; "
            f"at most {columns}, or queue_length {settings.prototypes - batch_size} or more"
        )


class SwaroTrack(TrackParams):
    """The track's section of params.yaml."""

    modality = "image"

    datasets: ImageDatasets
    encoder: EncoderParams
    projector: ProjectorParams
    augment: AugmentParams
    training: TrainingParams
    settings: SwaroSettings
    robustness: RobustnessParams

    @model_validator(mode="after")
    def _prototypes_fit_and_radii_are_known(self) -> "SwaroTrack":
        for label in dict.fromkeys((*self.methods, *self.ablation, *self.variants)):
            if label in WITHOUT_ENCODER:
                continue
            try:
                check_columns(self.settings_of(label), self.training.batch_size)
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from None
        for dataset in self.datasets:
            if dataset not in self.robustness.budgets:
                known = ", ".join(self.robustness.budgets)
                raise ValueError(f"no robustness.budgets for the data set {dataset!r}; there are {known}")
        return self

    def pretrain(self, label: str, dataset: str) -> ImagePretrainParams:
        """The resolved parameters of one method or variant (the same for every data set)."""
        return ImagePretrainParams(
            track="swaro",
            method=self.base_method(label),
            encoder=self.encoder,
            projector=self.projector,
            augment=self.augment,
            training=self.training,
            settings=self.checked_settings(label),
        )
