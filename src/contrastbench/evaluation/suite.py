"""The robustness suite: which attacks a head gets, at which radii, on how many images."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from contrastbench.params.robustness import RobustnessParams

# Heads that get every attack; the others get clean images, PGD and APGD at every l_inf radius, and AutoAttack.
WITH_EVERY_ATTACK = ("slf", "own")

# Attacks with gradients that search for the smallest l2 perturbation.
MINIMAL = ("deepfool", "cw", "ddn")

WHOLE_SPLIT = sys.maxsize  # images: the whole test split
LONGER = 2  # a check of convergence takes so many times the steps
FURTHER = 4  # APGD beyond the main radius of l_inf takes so many times the steps: some images fall to nothing shorter


@dataclass(frozen=True)
class AttackSpec:
    """One attack on one head.

    kind   clean, noise, fgsm, pgd, foolbox-pgd, deepfool, cw, ddn, hopskipjump, autoattack, apgd, longer-apgd or square
    norm   of the ball, or of the distance; of clean images without a meaning
    eps    None for clean images and for attacks that search for the smallest perturbation
    step_size  of PGD and of C&W
    has_row    False for an attack that only checks another one's convergence
    """

    kind: str
    norm: str
    eps: float | None
    images: int
    steps: int = 0
    step_size: float | None = None
    has_row: bool = True

    @property
    def ball(self) -> tuple[str, float]:
        """Norm and radius."""
        assert self.eps is not None, self.name
        return self.norm, self.eps

    @property
    def name(self) -> str:
        """The row's protocol, for example ``pgd-20-linf@0.1``."""
        if self.kind == "clean":
            return "clean"
        middle = f"-{self.steps}" if self.kind in ("pgd", "foolbox-pgd") else ""
        norm = "" if self.kind in ("noise", "fgsm", "square") else f"-{self.norm}"
        return f"{self.kind}{middle}{norm}" + ("" if self.eps is None else f"@{self.eps:.4g}")


def attacks_on(params: RobustnessParams, dataset: str, head: str, *, variant: bool = False) -> list[AttackSpec]:
    """What ``head`` is attacked with, in the order of the run. A ``variant`` is attacked at the main radius only.

    Every attack is run in balls that hold one another: APGD-T need not search a ball again for an image that withstood
    it in a larger one, so APGD takes the largest radius first.
    """
    budget, images, steps = params.budget(dataset), params.images, params.steps
    main, large = budget.main, budget.large

    def pgd(norm: str, eps: float, times: int = 1) -> AttackSpec:
        return AttackSpec(
            "pgd", norm, eps, images.gradient, times * steps.pgd, steps.step_fraction * eps, has_row=times == 1
        )

    def foolboxs(norm: str, eps: float) -> AttackSpec:
        return AttackSpec("foolbox-pgd", norm, eps, images.foolbox, steps.pgd, steps.step_fraction * eps)

    def apgd(norm: str, radii: Iterable[float]) -> list[AttackSpec]:
        def length(eps: float) -> int:
            return steps.apgd * (FURTHER if norm == "linf" and eps > main else 1)

        found = [AttackSpec("apgd", norm, eps, images.gradient, length(eps)) for eps in sorted(radii, reverse=True)]
        longer = AttackSpec("longer-apgd", norm, None, images.convergence, has_row=False)
        return [*found, *(replace(longer, eps=each.eps, steps=LONGER * each.steps) for each in found)]

    clean = AttackSpec("clean", "linf", None, WHOLE_SPLIT)
    radii = (main,) if variant else budget.linf
    few = [pgd("linf", eps, times) for times in (1, LONGER) for eps in radii]
    if variant or head not in WITH_EVERY_ATTACK:
        standard = AttackSpec("autoattack", "linf", main, 0 if variant else images.autoattack_tuned)
        return _wanted([clean, *few, *apgd("linf", radii), standard])
    return _wanted(
        [
            clean,
            AttackSpec("noise", "linf", main, images.gradient),
            *(AttackSpec("fgsm", "linf", eps, images.gradient) for eps in budget.linf),
            *few,
            pgd("linf", large),
            *(pgd("l2", eps, times) for times in (1, LONGER) for eps in budget.l2),
            foolboxs("linf", main),
            *(foolboxs("l1", eps) for eps in budget.l1),
            *apgd("linf", budget.linf),
            *apgd("l2", budget.l2),
            *apgd("l1", budget.l1),
            AttackSpec("deepfool", "l2", None, images.minimal, steps.deepfool),
            AttackSpec("cw", "l2", None, images.minimal, steps.cw, budget.carlini_wagner_step),
            AttackSpec("ddn", "l2", None, images.minimal, steps.ddn),
            AttackSpec("hopskipjump", "l2", None, images.decision, steps.hopskipjump),
            AttackSpec("square", "linf", main, images.square, steps.square_queries),
            AttackSpec("autoattack", "linf", main, images.autoattack),
        ]
    )


def worst_cases(attacks: list[AttackSpec]) -> list[tuple[str, float]]:
    """The balls (norm, radius) that get a row ``worst-case-NORM@EPS``: those in which APGD was run, smallest first."""
    return sorted(attack.ball for attack in attacks if attack.kind == "apgd")


def _wanted(attacks: list[AttackSpec]) -> list[AttackSpec]:
    return [attack for attack in attacks if attack.images]
