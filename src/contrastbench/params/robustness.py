"""Parameters of the robustness suite: budgets, attacks, how many images each attacks, heads."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section
from contrastbench.params.dataset_names import ImageDataset
from contrastbench.params.values import (
    LONGEST_LIST,
    BatchSize,
    Epochs,
    Epsilon,
    Examples,
    Labels,
    NonNegative,
    Positive,
    Radius,
    Steps,
    Strengths,
    told_apart,
    without_repeats,
)
from contrastbench.registry import has_own_classifier

HeadName = Literal["slf", "alf", "aff", "lpaft"]

ENOUGH_FOR_A_CHECK = 7


def _none_or_enough(value: int) -> int:
    if 0 < value < ENOUGH_FOR_A_CHECK:
        raise ValueError(f"must be 0 or at least {ENOUGH_FOR_A_CHECK}: no check could fail on fewer images")
    return value


NoneOrEnough = Annotated[Examples, AfterValidator(_none_or_enough)]
Fraction = Annotated[float, Field(gt=0, le=1)]  # of a radius: an attack's step
Radii = Annotated[tuple[Radius, ...], Field(max_length=LONGEST_LIST), AfterValidator(told_apart)]


class Budget(Section):
    """Radii of one data set, on inputs in [0, 1]; fractions such as 8/255 may be written as such.

    main   the l_inf radius of AutoAttack, Square, noise and the transfer matrix; one of ``linf``
    large  the l_inf radius at which no honest model keeps an image (a sanity check)
    carlini_wagner_step  Adam's step in the space of C&W's change of variables: large where pixels lie at 0 and 1
    """

    linf: Annotated[tuple[Epsilon, ...], Field(min_length=1, max_length=LONGEST_LIST), AfterValidator(told_apart)]
    main: Epsilon
    large: Epsilon
    l2: Radii
    l1: Radii
    carlini_wagner_step: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.main not in self.linf:
            raise ValueError(f"main {self.main:g} must be one of linf {[*self.linf]}")
        if self.large <= max(self.linf):
            raise ValueError(f"large {self.large:g} must exceed every radius in linf")
        return self


class Images(Section):
    """How many test images each family attacks; 0 leaves it out. All take the first images of the seed's order.

    gradient    FGSM, our PGD, APGD, noise; also those of the worst cases
    foolbox     Foolbox's PGD, as a cross-check   minimal     DeepFool, Carlini-Wagner and DDN
    decision    HopSkipJump                       square      Square alone
    autoattack  standard AutoAttack, a check      autoattack_tuned  the same on the other heads
    convergence APGD of twice the iterations, and in l_inf Square: of the images that are left at a radius
    transfer    each entry of the transfer matrix
    validation  PGD on validation images, which decides on C of the standard linear head

    Checks compare two attacks image by image; on fewer than 7 images not even the clearest difference is significant
    (2^-6 > 0.01), and the check would pass whatever happens.
    """

    gradient: Annotated[Examples, Field(ge=ENOUGH_FOR_A_CHECK)]
    foolbox: NoneOrEnough
    minimal: NoneOrEnough
    decision: NoneOrEnough
    autoattack: Examples
    autoattack_tuned: Examples
    convergence: Annotated[Examples, Field(ge=ENOUGH_FOR_A_CHECK)]
    square: NoneOrEnough
    transfer: NoneOrEnough
    validation: Annotated[Examples, Field(ge=ENOUGH_FOR_A_CHECK)]


class AttackSteps(Section):
    """Steps of the iterative attacks. AutoAttack's 100 iterations and 5,000 queries are its standard, not a choice.

    ``step_fraction`` is a step of PGD, ours and Foolbox's, in units of the radius. ``apgd`` counts the iterations of
    APGD-CE and APGD-T outside AutoAttack, four times as many beyond the main radius of l_inf; ``square_queries`` is
    Square's when it runs alone. The checks of convergence take twice the steps of PGD and of APGD.
    """

    pgd: Steps
    step_fraction: Fraction
    apgd: Steps
    deepfool: Steps
    cw: Steps
    ddn: Steps
    hopskipjump: Steps
    square_queries: Steps


class SgdParams(Section):
    """SGD with momentum 0.9 on a cosine schedule."""

    epochs: Epochs
    batch_size: BatchSize
    learning_rate: Positive
    weight_decay: NonNegative


class RobustTuningParams(SgdParams):
    """Adversarial training of a head (ALF) or of the whole network (AFF).

    The attack's radius is the data set's main one. ``step_fraction`` is a step in units of that radius.
    ``max_examples`` trains on the first N training examples of a fixed order; null takes all.
    """

    attack_steps: Steps
    step_fraction: Fraction
    max_examples: Annotated[Examples, Field(ge=2)] | None


class FineTuningParams(RobustTuningParams):
    """Adversarial full fine-tuning: ``trades`` with weight ``beta``, or ``pgd-at`` (which does not read it)."""

    loss: Literal["trades", "pgd-at"]
    beta: Positive


class PostProcessingParams(FineTuningParams):
    """Adversarial fine-tuning of an encoder on pseudo-labels (LPAFT): ``clusters`` of them.

    ``probe`` trains the linear head that the tuning starts with, on the frozen encoder's clean features.
    """

    clusters: Annotated[Labels, Field(ge=2)]
    probe: SgdParams


class RobustnessParams(Section):
    """The suite. ``heads`` are fitted on every encoder; a supervised method is judged by its own classifier.

    ``slf`` gets every attack; the others get clean images, PGD and APGD at every l_inf radius and AutoAttack.
    A label that is not among the track's ``methods``, as most variants are not, has ``slf``, or its own classifier,
    alone, attacked by these at ``main``: enough to compare it with its method.
    """

    budgets: dict[ImageDataset, Budget]
    heads: Annotated[tuple[HeadName, ...], Field(min_length=1), AfterValidator(without_repeats)]
    images: Images
    steps: AttackSteps
    alf: RobustTuningParams
    aff: FineTuningParams
    lpaft: PostProcessingParams
    l2_grid: Strengths
    batch_size: int = Field(ge=1, le=131_072)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "slf" not in self.heads:
            raise ValueError("slf is missing; it is the head that gets every attack")
        return self

    def on(self, trained: str, judged: str) -> "RobustnessParams":
        """Without the radii of other data sets."""
        return self.model_copy(update={"budgets": {judged: self.budget(judged)}})

    def budget(self, dataset: str) -> Budget:
        """The radii of a data set; one without radii is a UserError."""
        if dataset not in self.budgets:
            raise UserError(f"robustness.budgets: no radii for {dataset!r}; there are {', '.join(self.budgets)}")
        return self.budgets[dataset]

    def heads_of(self, method: str, *, variant: bool = False) -> tuple[str, ...]:
        """The heads of a registered method, or of a variant of it."""
        if has_own_classifier(method):
            return ("own",)
        return ("slf",) if variant else self.heads
