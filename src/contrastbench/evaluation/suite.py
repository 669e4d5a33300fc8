"""The robustness suite: which attacks a head gets, at which radii, on how many images."""

import sys
from dataclasses import dataclass

from contrastbench.params.robustness import RobustnessParams

# Heads that get every attack; the others get clean images, PGD at every l_inf radius and AutoAttack.
WITH_EVERY_ATTACK = ("slf", "own")

# Attacks with gradients that search for the smallest l2 perturbation.
MINIMAL = ("deepfool", "cw", "ddn")

WHOLE_SPLIT = sys.maxsize  # images: the whole test split


@dataclass(frozen=True)
class AttackSpec:
    """One attack on one head, which one row of the robustness suite is about.

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


def attacks_on(params: RobustnessParams, dataset: str, head: str) -> list[AttackSpec]:
    """What ``head`` is attacked with, in the order of the run: cheap attacks first."""
    budget, images, steps = params.budget(dataset), params.images, params.steps
    main = budget.main
    few = [AttackSpec("pgd", "linf", eps, images.gradient, steps.pgd) for eps in budget.linf]
    if head not in WITH_EVERY_ATTACK:
        strong = AttackSpec("autoattack", "linf", main, images.autoattack_tuned)
        return _wanted([AttackSpec("clean", "linf", None, WHOLE_SPLIT), *few, strong])
    return _wanted(
        [
            AttackSpec("clean", "linf", None, WHOLE_SPLIT),
            AttackSpec("noise", "linf", main, images.gradient),
            *(AttackSpec("fgsm", "linf", eps, images.gradient) for eps in budget.linf),
            *few,
            AttackSpec("pgd", "linf", main, images.gradient, steps.pgd_long),
            AttackSpec("pgd", "linf", budget.large, images.gradient, steps.pgd),
            *(AttackSpec("pgd", "l2", eps, images.gradient, steps.pgd) for eps in budget.l2),
            AttackSpec("foolbox-pgd", "linf", main, images.foolbox, steps.pgd),
            *(AttackSpec("foolbox-pgd", "l1", eps, images.foolbox, steps.pgd) for eps in budget.l1),
            AttackSpec("deepfool", "l2", None, images.minimal, steps.deepfool),
            AttackSpec("cw", "l2", None, images.minimal, steps.cw, budget.carlini_wagner_step),
            AttackSpec("ddn", "l2", None, images.minimal, steps.ddn),
            AttackSpec("hopskipjump", "l2", None, images.decision, steps.hopskipjump),
            *(AttackSpec("apgd", "l1", eps, images.autoattack, steps.apgd_l1) for eps in budget.l1),
            AttackSpec("square", "linf", main, images.square, steps.square_queries),
            AttackSpec("autoattack", "linf", main, images.autoattack),
        ]
    )


def _wanted(attacks: list[AttackSpec]) -> list[AttackSpec]:
    return [attack for attack in attacks if attack.images]
