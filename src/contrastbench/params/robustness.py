"""Parameters of the robustness suite: budgets, attacks, how many images each attacks, heads."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from contrastbench.errors import UserError
from contrastbench.params.base import Section, without_repeats
from contrastbench.params.dataset_names import ImageDataset
from contrastbench.params.evaluation import Strengths

HeadName = Literal["slf", "alf", "aff"]

# Supervised methods: judged by their own classifier (the head ``own``), which gets every attack.
WITH_CLASSIFIER = ("supervised", "pgd-at", "trades")

# Heads that get every attack; the others get clean images, PGD at every l_inf radius and AutoAttack.
WITH_EVERY_ATTACK = ("slf", "own")

# Attacks with gradients that search for the smallest l2 perturbation.
MINIMAL = ("deepfool", "cw", "ddn")

ALL = sys.maxsize  # images: the whole test split


def _fraction(value: Any) -> Any:
    """``8/255`` as the number it is."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = value.split("/")
        try:
            return float(above) / float(below)
        except (ValueError, ZeroDivisionError):
            return value
    return value


ENOUGH_FOR_A_CHECK = 7


def _none_or_enough(value: int) -> int:
    if 0 < value < ENOUGH_FOR_A_CHECK:
        raise ValueError(f"must be 0 or at least {ENOUGH_FOR_A_CHECK}: no check could fail on fewer images")
    return value


NoneOrEnough = Annotated[int, Field(ge=0), AfterValidator(_none_or_enough)]
Epsilon = Annotated[float, BeforeValidator(_fraction), Field(ge=0, le=1)]  # l_inf, inputs in [0, 1]
Radius = Annotated[float, BeforeValidator(_fraction), Field(ge=0)]  # l2 and l1 are not bounded by 1


def _told_apart(radii: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse radii that stand twice, as protocols write them."""
    without_repeats(tuple(f"{radius:.4g}" for radius in radii))
    return radii


class Budget(Section):
    """Radii of one data set, on inputs in [0, 1]; fractions such as 8/255 may be written as such.

    main   the l_inf radius of AutoAttack, Square, noise and the transfer matrix; one of ``linf``
    large  the l_inf radius at which no honest model keeps an image (a sanity check)
    carlini_wagner_step  Adam's step in the space of C&W's change of variables: large where pixels lie at 0 and 1
    """

    linf: Annotated[tuple[Epsilon, ...], Field(min_length=1), AfterValidator(_told_apart)]
    main: Epsilon
    large: Epsilon
    l2: Annotated[tuple[Radius, ...], AfterValidator(_told_apart)]
    l1: Annotated[tuple[Radius, ...], AfterValidator(_told_apart)]
    carlini_wagner_step: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> "Budget":
        if self.main not in self.linf:
            raise ValueError(f"main {self.main:g} must be one of linf {[*self.linf]}")
        if self.large <= max(self.linf):
            raise ValueError(f"large {self.large:g} must exceed every radius in linf")
        return self


class Images(Section):
    """How many test images each family attacks; 0 leaves it out. All take the first images of the seed's order.

    gradient    FGSM, our PGD, noise              foolbox     Foolbox's PGD, as a cross-check and for l1
    minimal     DeepFool, Carlini-Wagner and DDN  decision    HopSkipJump
    autoattack  standard AutoAttack, and APGD-l1  square      Square alone
    autoattack_tuned  standard AutoAttack on alf and aff
    transfer    each entry of the transfer matrix

    Checks compare two attacks image by image; on fewer than 7 images not even the clearest difference is significant
    (2^-6 > 0.01), and the check would pass whatever happens.
    """

    gradient: int = Field(ge=ENOUGH_FOR_A_CHECK)
    foolbox: NoneOrEnough
    minimal: NoneOrEnough
    decision: NoneOrEnough
    autoattack: int = Field(ge=0)
    autoattack_tuned: int = Field(ge=0)
    square: NoneOrEnough
    transfer: NoneOrEnough


class Steps(Section):
    """Steps of the iterative attacks. AutoAttack's 100 iterations and 5,000 queries are its standard, not a choice.

    ``pgd_long`` is the run that more steps are checked with; ``square_queries`` is Square's when it runs alone, and
    ``apgd_l1`` counts the iterations of APGD in the l1 ball, which is not part of the l_inf standard.
    """

    pgd: int = Field(ge=1)
    pgd_long: int = Field(ge=1)
    deepfool: int = Field(ge=1)
    cw: int = Field(ge=1)
    ddn: int = Field(ge=1)
    hopskipjump: int = Field(ge=1)
    apgd_l1: int = Field(ge=1)
    square_queries: int = Field(ge=1)

    @model_validator(mode="after")
    def _check(self) -> "Steps":
        if self.pgd_long <= self.pgd:
            raise ValueError(f"pgd_long {self.pgd_long} must exceed pgd {self.pgd}")
        return self


class TuningParams(Section):
    """Adversarial training of a head (ALF) or of the whole network (AFF): SGD with momentum 0.9, cosine schedule.

    The attack's radius is the data set's main one. ``step_fraction`` is a step in units of that radius.
    ``max_examples`` trains on the first N training examples of a fixed order; null takes all.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    attack_steps: int = Field(ge=1)
    step_fraction: float = Field(gt=0, le=1)
    max_examples: int | None = Field(ge=2)


class FineTuningParams(TuningParams):
    """Adversarial full fine-tuning: ``trades`` with weight ``beta``, or ``pgd-at`` (which does not read it)."""

    loss: Literal["trades", "pgd-at"]
    beta: float = Field(gt=0)


@dataclass(frozen=True)
class Cell:
    """One attack on one head: what a result row of the robustness suite is about.

    kind   clean, noise, fgsm, pgd, foolbox-pgd, deepfool, cw, ddn, hopskipjump, autoattack, apgd or square
    eps    None for clean images and for attacks that search for the smallest perturbation
    step_size  of C&W
    """

    kind: str
    norm: str
    eps: float | None
    images: int
    steps: int = 0
    step_size: float | None = None

    @property
    def name(self) -> str:
        """The row's protocol, for example ``pgd-20-linf@0.1``."""
        if self.kind == "clean":
            return "clean"
        middle = f"-{self.steps}" if self.kind in ("pgd", "foolbox-pgd", "apgd") else ""
        norm = "" if self.kind in ("noise", "fgsm", "square") else f"-{self.norm}"
        return f"{self.kind}{middle}{norm}" + ("" if self.eps is None else f"@{self.eps:.4g}")


class RobustnessParams(Section):
    """The suite. ``heads`` are fitted on every encoder; a supervised method is judged by its own classifier.

    ``slf`` gets every attack; ``alf`` and ``aff`` get clean images, PGD at every l_inf radius and AutoAttack.
    """

    budgets: dict[ImageDataset, Budget]
    heads: Annotated[tuple[HeadName, ...], Field(min_length=1), AfterValidator(without_repeats)]
    images: Images
    steps: Steps
    alf: TuningParams
    aff: FineTuningParams
    l2_grid: Strengths
    batch_size: int = Field(ge=1)

    @model_validator(mode="after")
    def _check(self) -> "RobustnessParams":
        if "slf" not in self.heads:
            raise ValueError("slf is missing; it is the head that gets every attack")
        return self

    def budget(self, dataset: str) -> Budget:
        """The radii of a data set; one without radii is a UserError."""
        if dataset not in self.budgets:
            raise UserError(f"robustness.budgets: no radii for {dataset!r}; there are {', '.join(self.budgets)}")
        return self.budgets[dataset]

    def cells(self, dataset: str, head: str) -> list[Cell]:
        """What ``head`` is attacked with, in the order of the run: cheap attacks first."""
        budget, images, steps = self.budget(dataset), self.images, self.steps
        main = budget.main
        few = [Cell("pgd", "linf", eps, images.gradient, steps.pgd) for eps in budget.linf]
        if head not in WITH_EVERY_ATTACK:
            strong = Cell("autoattack", "linf", main, images.autoattack_tuned)
            return _wanted([Cell("clean", "linf", None, ALL), *few, strong])
        return _wanted(
            [
                Cell("clean", "linf", None, ALL),
                Cell("noise", "linf", main, images.gradient),
                *(Cell("fgsm", "linf", eps, images.gradient) for eps in budget.linf),
                *few,
                Cell("pgd", "linf", main, images.gradient, steps.pgd_long),
                Cell("pgd", "linf", budget.large, images.gradient, steps.pgd),
                *(Cell("pgd", "l2", eps, images.gradient, steps.pgd) for eps in budget.l2),
                Cell("foolbox-pgd", "linf", main, images.foolbox, steps.pgd),
                *(Cell("foolbox-pgd", "l1", eps, images.foolbox, steps.pgd) for eps in budget.l1),
                Cell("deepfool", "l2", None, images.minimal, steps.deepfool),
                Cell("cw", "l2", None, images.minimal, steps.cw, budget.carlini_wagner_step),
                Cell("ddn", "l2", None, images.minimal, steps.ddn),
                Cell("hopskipjump", "l2", None, images.decision, steps.hopskipjump),
                *(Cell("apgd", "l1", eps, images.autoattack, steps.apgd_l1) for eps in budget.l1),
                Cell("square", "linf", main, images.square, steps.square_queries),
                Cell("autoattack", "linf", main, images.autoattack),
            ]
        )

    def worst_case_radii(self, dataset: str) -> tuple[float, ...]:
        """The l_inf radii that get a row ``worst-case@EPS``."""
        return self.budget(dataset).linf

    def heads_of(self, method: str) -> tuple[str, ...]:
        """The heads of a registered method."""
        return ("own",) if method in WITH_CLASSIFIER else self.heads

    def protocols(self, dataset: str, method: str) -> list[str]:
        """Every protocol of the stage ``attack`` for a registered method on ``dataset``."""
        names = []
        for head in self.heads_of(method):
            own = [cell.name for cell in self.cells(dataset, head)]
            own += [f"worst-case@{eps:.4g}" for eps in self.worst_case_radii(dataset)]
            names += [protocol_of(head, name) for name in own]
        return names


def protocol_of(head: str, name: str) -> str:
    """The protocol in a row: ``pgd-20-linf@0.1`` for the linear head, ``aff-pgd-20-linf@0.1`` for another."""
    return name if head in WITH_EVERY_ATTACK else f"{head}-{name}"


def _wanted(cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.images]
