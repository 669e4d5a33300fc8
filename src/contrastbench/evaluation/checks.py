"""Which checks of ``sanity`` an evaluation fails, by attack and by worst case."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from contrastbench.evaluation import sanity
from contrastbench.evaluation.robustness import WITH_GRADIENTS, Victim, parts_of, sample_of, survivors
from contrastbench.evaluation.suite import LONGER, MINIMAL, AttackSpec, worst_cases
from contrastbench.evaluation.verdicts import Verdict
from contrastbench.params.robustness import RobustnessParams


def failed_checks(
    victim: Victim, params: RobustnessParams, dataset: str, attacks: list[AttackSpec], verdicts: dict[str, Verdict]
) -> dict[str, list[str]]:
    """The checks of ``sanity`` that this evaluation fails, by attack and by worst case, named as in the rows.

    Under ``""`` are those that concern every row. Checks of attacks that were not run are left out.
    """
    general = _checks_of_the_model(victim, params, dataset, attacks, verdicts)
    valid = {name: sanity.perturbations_are_valid(verdict.valid, name) for name, verdict in verdicts.items()}
    lines: dict[str, list[str | None]] = {"": general} | {name: [line] for name, line in valid.items()}
    balls = worst_cases(attacks)
    for attack in attacks:
        if attack.kind == "apgd":
            norm, eps = attack.ball
            settled = _convergence_of_apgd(attack, attacks, verdicts)
            inside = [each for each in attacks if each.norm == norm and each.eps is not None and each.eps <= eps]
            lines[attack.name] += settled
            lines[f"worst-case-{norm}@{eps:.4g}"] = [*(valid[each.name] for each in inside), *settled]
        elif attack.kind in ("pgd", "foolbox-pgd") and attack.has_row and attack.ball in balls:
            lines[attack.name].append(_convergence_of_pgd(attack, attacks, verdicts))
    return {name: [line for line in found if line] for name, found in lines.items()}


def _checks_of_the_model(
    victim: Victim, params: RobustnessParams, dataset: str, attacks: list[AttackSpec], verdicts: dict[str, Verdict]
) -> list[str | None]:
    """The checks that concern every row: they tell masked gradients and faulty attacks."""
    budget, steps = params.budget(dataset), params.steps
    main = f"{budget.main:.4g}"
    robust = {name: verdict.robust for name, verdict in verdicts.items()}
    images, labels = victim.images(0, min(params.images.gradient, victim.batch_size))
    found = [sanity.gradients_are_useful(sanity.input_gradients(victim.model, images, labels))]
    large = f"pgd-{steps.pgd}-linf@{budget.large:.4g}"
    if large in robust:
        found.append(sanity.large_radius_breaks_all(robust[large], budget.large))
    if f"noise@{main}" in robust:
        found.append(sanity.noise_is_weaker(robust[f"noise@{main}"], robust[f"fgsm@{main}"]))
    foolboxs = f"foolbox-pgd-{steps.pgd}-linf@{main}"
    if foolboxs in robust:
        found.append(sanity.own_attack_is_as_strong(robust[f"pgd-{steps.pgd}-linf@{main}"], robust[foolboxs]))
    if f"square@{main}" in robust:
        white = survivors(attacks, verdicts, ("linf", budget.main), WITH_GRADIENTS)
        found.append(sanity.white_box_is_strongest(white, robust[f"square@{main}"], "Square"))
    nearest = [verdicts[name].distance for name in (f"{kind}-l2" for kind in MINIMAL) if name in verdicts]
    if nearest and "hopskipjump-l2" in verdicts:
        found.append(sanity.white_box_is_nearest(np.minimum.reduce(nearest), verdicts["hopskipjump-l2"].distance))
    return found


def _convergence_of_pgd(attack: AttackSpec, attacks: list[AttackSpec], verdicts: Mapping[str, Verdict]) -> str | None:
    """PGD against itself with more steps, where that was run (Foolbox's was not), and against APGD."""
    longer = replace(attack, steps=LONGER * attack.steps)
    stronger = {"APGD": survivors(attacks, verdicts, attack.ball, WITH_GRADIENTS)}
    if longer.name in verdicts:
        stronger[f"{longer.steps} steps"] = verdicts[longer.name].robust
    return sanity.has_converged(attack.name, verdicts[attack.name].robust, stronger)


def _convergence_of_apgd(
    attack: AttackSpec, attacks: list[AttackSpec], verdicts: Mapping[str, Verdict]
) -> list[str | None]:
    """What a longer APGD and AutoAttack, where they were run, still break of the images that APGD left and they saw."""
    left = survivors(attacks, verdicts, attack.ball, WITH_GRADIENTS)
    found = []
    for other in attacks:
        if other.kind in ("longer-apgd", "autoattack") and other.ball == attack.ball:
            broken = verdicts[other.name].broken[: len(left)]
            seen = sample_of(left, other.images) if other.kind == "longer-apgd" else left[: len(broken)]
            by = (
                f"{other.name} with square"
                if other.kind == "longer-apgd" and "square" in parts_of(other)
                else other.name
            )
            found.append(sanity.nothing_is_left_to_find(left, broken[seen], by))
    return found
