"""Runs attacks on one classifier, batch by batch, and keeps every verdict so that a killed run can continue."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.attacks import autoattack as aa
from contrastbench.attacks.foolbox_attacks import run_foolbox
from contrastbench.attacks.geometry import ImagePasses, Norm, random_perturbation
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import Recount, recount
from contrastbench.evaluation import sanity
from contrastbench.evaluation.suite import MINIMAL, WITH_EVERY_ATTACK, AttackSpec
from contrastbench.evaluation.verdicts import (
    PartialStore,
    Verdict,
    attack_order,
    from_arrays,
    to_arrays,
    worst_case,
)
from contrastbench.modalities.base import Inputs
from contrastbench.params.robustness import RobustnessParams
from contrastbench.training.seeds import generator_for, seed_for

FOOLBOX = ("fgsm", *MINIMAL, "hopskipjump")
AUTOATTACK = {"autoattack": aa.STANDARD, "apgd": ("apgd-ce",), "square": ("square",)}


@dataclass(frozen=True)
class Victim:
    """A classifier under attack, and the test images.

    model      returns logits, in eval mode, on ``device``, without parameter gradients
    x, y       stored test arrays, possibly memory-mapped; only batches of them go to the device
    inputs     the modality's: stored rows -> (B, C, H, W) in [0, 1]
    seed       determines the order of the images and, with an attack's name, all its random numbers
    """

    model: nn.Module
    x: np.ndarray
    y: np.ndarray
    inputs: Inputs
    device: torch.device
    seed: int
    batch_size: int

    def images(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images and labels ``start`` to ``stop``, in the order in which all attacks take them."""
        chosen = attack_order(len(self.y), self.seed)[start:stop]
        images = self.inputs(self.x[chosen], self.device)
        return images.contiguous(), torch.from_numpy(np.array(self.y[chosen])).to(self.device)


def evaluate(
    victim: Victim, attacks: list[AttackSpec], store: PartialStore, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Verdict]:
    """The verdict of every attack, by its name; attacks and batches that ``store`` holds are not run again."""
    verdicts: dict[str, Verdict] = {}
    for attack in attacks:
        count = min(attack.images, len(victim.y))
        if attack.kind in AUTOATTACK:
            verdict = _run_autoattack(victim, attack, count, store)
        else:
            verdict = _run_in_batches(victim, attack, count, store, verdicts.get("clean"))
        progress(f"{attack.name}: accuracy {verdict.robust.mean():.1%}")
        verdicts[attack.name] = verdict
    return verdicts


def _run_in_batches(
    victim: Victim, attack: AttackSpec, count: int, store: PartialStore, clean: Verdict | None
) -> Verdict:
    verdict = from_arrays(store.load(attack.name))
    while len(verdict.broken) < count:
        start = len(verdict.broken)
        stop = min(count, start + victim.batch_size)
        images, labels = victim.images(start, stop)
        misclassified = None if clean is None else torch.from_numpy(clean.broken[start:stop])
        begun = time.perf_counter()
        with ImagePasses(victim.model) as passes:
            counted = _attack_batch(victim, attack, images, labels, start, misclassified)
        found = Verdict(
            counted.broken.cpu().numpy(),
            counted.valid.cpu().numpy(),
            counted.distance.float().cpu().numpy(),
            passes.images,
            time.perf_counter() - begun,
        )
        verdict = verdict.joined(found)
        store.save(attack.name, to_arrays(verdict))
    return verdict


def _attack_batch(
    victim: Victim, attack: AttackSpec, images: Tensor, labels: Tensor, start: int, misclassified: Tensor | None
) -> Recount:
    """One batch of any attack but AutoAttack, recounted. Its random stream depends on seed, attack and position."""
    # Foolbox's PGD has the same random starts as ours, so that the two can be compared image by image.
    name = attack.name.removeprefix("foolbox-")
    model, norm, stream = victim.model, _norm(attack), ("attack", victim.seed, name, start)
    if attack.kind in FOOLBOX or attack.kind == "foolbox-pgd":
        _, counted = run_foolbox(
            attack.kind if attack.kind in FOOLBOX else f"pgd-{attack.norm}",
            model,
            images,
            labels,
            seed=seed_for(*stream),
            eps=attack.eps,
            steps=attack.steps,
            step_size=attack.step_size,
        )
        return counted
    generator = generator_for(victim.device, *stream)
    if attack.kind == "clean":
        adversarial = images
    elif attack.kind == "noise":
        assert attack.eps is not None
        adversarial = (images + random_perturbation(images, attack.eps, norm, generator)).clamp(0, 1)
    else:
        assert attack.kind == "pgd" and attack.eps is not None, attack
        adversarial = pgd(
            model,
            images,
            labels,
            eps=attack.eps,
            steps=attack.steps,
            norm=norm,
            misclassified=misclassified,
            generator=generator,
        ).images
    return recount(model, images, adversarial, labels, eps=attack.eps, norm=norm)


def _run_autoattack(victim: Victim, attack: AttackSpec, count: int, store: PartialStore) -> Verdict:
    """AutoAttack, one of its attacks, or Square alone; ``store`` holds the state of an unfinished run."""
    assert attack.eps is not None
    settings = aa.Settings(
        attack.eps,
        _norm(attack),
        AUTOATTACK[attack.kind],
        victim.batch_size,
        iterations=attack.steps if attack.kind == "apgd" else None,
        queries=attack.steps if attack.kind == "square" else None,
    )
    saved = store.load(attack.name)
    if "broken" in saved:
        return from_arrays(saved)
    parts = [victim.images(start, min(count, start + 512)) for start in range(0, count, 512)]
    images, labels = torch.cat([part[0].cpu() for part in parts]), torch.cat([part[1].cpu() for part in parts])
    spent = float(saved.get("seconds", 0.0)), int(saved.get("passes", 0))
    begun = time.perf_counter()
    with ImagePasses(victim.model) as passes:

        def save(state: aa.State) -> None:
            assert state.broken_by is not None and state.candidates is not None and state.refused is not None
            arrays = {
                "broken_by": state.broken_by.numpy(),
                "candidates": state.candidates.numpy(),
                "attack": np.asarray(state.attack),
                "batch": np.asarray(state.batch),
                "refused": state.refused.numpy(),
                "seconds": np.asarray(spent[0] + time.perf_counter() - begun),
                "passes": np.asarray(spent[1] + passes.images),
            }
            store.save(attack.name, arrays)

        state = aa.autoattack(
            victim.model,
            images,
            labels,
            settings,
            seed=victim.seed,
            device=victim.device,
            state=_state(saved),
            save=save,
        )
    assert state.broken_by is not None and state.refused is not None
    broken_by = state.broken_by.numpy()
    verdict = Verdict(
        broken_by != aa.ROBUST,
        ~state.refused.numpy(),
        np.full(count, np.nan, np.float32),  # AutoAttack uses the whole ball; its distances mean nothing
        spent[1] + passes.images,
        spent[0] + time.perf_counter() - begun,
        broken_by,
    )
    store.save(attack.name, to_arrays(verdict))
    return verdict


def _state(saved: dict[str, np.ndarray]) -> aa.State | None:
    if not saved:
        return None
    return aa.State(
        torch.from_numpy(saved["broken_by"]),
        int(saved["attack"]),
        torch.from_numpy(saved["candidates"]),
        int(saved["batch"]),
        torch.from_numpy(saved["refused"]),
    )


def _norm(attack: AttackSpec) -> Norm:
    assert attack.norm in ("linf", "l2", "l1")
    return attack.norm  # type: ignore[return-value]


def worst_cases(
    attacks: list[AttackSpec], verdicts: dict[str, Verdict], radii: tuple[float, ...]
) -> dict[float, np.ndarray]:
    """Which images survive every l_inf attack up to each radius (evaluation/verdicts.py:worst_case)."""
    counted = [attack for attack in attacks if attack.norm == "linf"]
    known = [(attack.eps or 0.0, verdicts[attack.name]) for attack in counted]  # clean images at radius 0
    return {eps: worst_case(known, eps) for eps in radii}


def failed_checks(
    victim: Victim, params: RobustnessParams, dataset: str, head: str, verdicts: dict[str, Verdict]
) -> dict[str, list[str]]:
    """The checks of ``sanity`` that this evaluation fails: by attack, and under ``""`` those that concern all rows."""
    budget, steps = params.budget(dataset), params.steps
    main = f"{budget.main:.4g}"
    robust = {name: verdict.robust for name, verdict in verdicts.items()}
    white = robust[f"pgd-{steps.pgd}-linf@{main}"]
    images, labels = victim.images(0, min(params.images.gradient, victim.batch_size))
    general = [sanity.gradients_are_useful(sanity.input_gradients(victim.model, images, labels))]
    if head in WITH_EVERY_ATTACK:
        large = robust[f"pgd-{steps.pgd}-linf@{budget.large:.4g}"]
        longer = robust[f"pgd-{steps.pgd_long}-linf@{main}"]
        general += [
            sanity.large_radius_breaks_all(large, budget.large),
            sanity.more_steps_never_help_the_defender(white, longer),
            sanity.noise_is_weaker(robust[f"noise@{main}"], robust[f"fgsm@{main}"]),
        ]
    foolboxs = f"foolbox-pgd-{steps.pgd}-linf@{main}"
    if foolboxs in robust:
        general.append(sanity.own_attack_is_as_strong(white, robust[foolboxs]))
    if f"square@{main}" in robust:
        general.append(sanity.white_box_is_strongest(white, robust[f"square@{main}"], "Square"))
    nearest = [verdicts[name].distance for name in (f"{kind}-l2" for kind in MINIMAL) if name in verdicts]
    if nearest and "hopskipjump-l2" in verdicts:
        general.append(sanity.white_box_is_nearest(np.minimum.reduce(nearest), verdicts["hopskipjump-l2"].distance))
    own = {name: [sanity.perturbations_are_valid(verdict.valid, name)] for name, verdict in verdicts.items()}
    return {name: [line for line in lines if line] for name, lines in (own | {"": general}).items()}


def minimal_distance(verdict: Verdict, dimensions: int) -> np.ndarray:
    """l2 distances (n,); where the attack found nothing, the diameter of [0, 1]^dimensions, an upper bound."""
    return np.where(np.isfinite(verdict.distance), verdict.distance, dimensions**0.5)
