"""Runs attacks on one classifier, batch by batch, and keeps every verdict so that a killed run can continue."""

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from contrastbench.attacks import autoattack as aa
from contrastbench.attacks.foolbox_attacks import run_foolbox
from contrastbench.attacks.geometry import UNIT, ImagePasses, Norm, check_inputs, random_perturbation
from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import Recount, recount
from contrastbench.errors import UserError
from contrastbench.evaluation.suite import MINIMAL, AttackSpec
from contrastbench.evaluation.verdicts import (
    PartialStore,
    Verdict,
    attack_order,
    from_arrays,
    to_arrays,
)
from contrastbench.modalities.base import Inputs
from contrastbench.training.seeds import generator_for, seed_for

FOOLBOX = ("fgsm", *MINIMAL, "hopskipjump")
APGD = ("apgd-ce", "apgd-t")
AUTOATTACK = {"autoattack": aa.STANDARD, "apgd": APGD, "longer-apgd": APGD, "square": ("square",)}
BEFORE_APGD = ("clean", "fgsm", "pgd", "foolbox-pgd")  # APGD is run on what these leave
AGAIN = 0.01  # APGD is run from other starts as long as that breaks more than this share of the images
WITH_GRADIENTS = (*BEFORE_APGD, "apgd")  # in a given ball


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
    """The verdict of every attack, by its name; attacks and batches that ``store`` holds are not run again.

    The verdict of APGD counts as broken what the attacks before it broke in the same ball. Raises UserError before any
    attack is run for a classifier of one class, and in the first batch for images outside [0, 1].
    """
    with torch.no_grad():
        if victim.model(victim.images(0, 1)[0]).shape[1] < 2:
            raise UserError("the classifier has one class: no attack can make it answer otherwise")
    verdicts: dict[str, Verdict] = {}
    for attack in attacks:
        count = min(attack.images, len(victim.y))
        if attack.kind in AUTOATTACK:
            verdict = _run_autoattack(victim, attack, store, _wanted_by(attack, attacks, verdicts, count))
        else:
            verdict = _run_in_batches(victim, attack, count, store, verdicts.get("clean"))
        if attack.kind == "apgd":
            before = survivors(attacks, verdicts, attack.ball, BEFORE_APGD)
            verdict = replace(verdict, broken=verdict.broken | ~before)
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
    check_inputs(images, UNIT, 0.0)
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
        assert attack.kind == "pgd" and attack.eps is not None and attack.step_size is not None, attack
        adversarial = pgd(
            model,
            images,
            labels,
            eps=attack.eps,
            steps=attack.steps,
            step_size=attack.step_size,
            norm=norm,
            misclassified=misclassified,
            generator=generator,
        ).images
    return recount(model, images, adversarial, labels, eps=attack.eps, norm=norm)


def _wanted_by(
    attack: AttackSpec, attacks: list[AttackSpec], verdicts: Mapping[str, Verdict], count: int
) -> dict[str, np.ndarray]:
    """Which images (n,) each part of ``attack`` is run on.

    APGD on those that the attacks before it leave; its targeted part leaves out what withstood it in a larger ball,
    which holds this one. The longer APGD on the first ``count`` of those that APGD leaves, and the others on the first
    ``count`` of all.
    """
    if attack.kind == "longer-apgd":
        return dict.fromkeys(
            parts_of(attack), sample_of(survivors(attacks, verdicts, attack.ball, WITH_GRADIENTS), count)
        )
    if attack.kind != "apgd":
        return dict.fromkeys(parts_of(attack), np.ones(count, bool))
    left = survivors(attacks, verdicts, attack.ball, BEFORE_APGD)
    untried = left.copy()
    for other in attacks:
        if other.kind == "apgd" and other.norm == attack.norm and other.ball > attack.ball:
            untried &= verdicts[other.name].broken
    return {"apgd-ce": left, "apgd-t": untried}


def parts_of(attack: AttackSpec) -> tuple[str, ...]:
    """The attacks of AutoAttack that ``attack`` runs.

    Behind the longer APGD in l_inf there is Square: where gradients mislead, more of them find nothing more.
    """
    parts = AUTOATTACK[attack.kind]
    return (*parts, "square") if (attack.kind, attack.norm) == ("longer-apgd", "linf") else parts


def sample_of(left: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` of the images that are ``left`` (n,) bool, as a mask (n,)."""
    return left & (left.cumsum() <= count)


def _run_autoattack(
    victim: Victim, attack: AttackSpec, store: PartialStore, wanted: Mapping[str, np.ndarray]
) -> Verdict:
    """AutoAttack, some of its attacks, or Square alone; ``store`` holds the state of an unfinished run.

    ``wanted`` says by attack which of the first n images (n,) it is run on.
    """
    assert attack.eps is not None
    (count,) = {len(flags) for flags in wanted.values()}
    settings = aa.Settings(
        attack.eps,
        _norm(attack),
        parts_of(attack),
        victim.batch_size,
        iterations=attack.steps if attack.kind in ("apgd", "longer-apgd") else None,
        queries=attack.steps if attack.kind == "square" else None,
        again=AGAIN if attack.kind == "apgd" else None,
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
                "classes": np.asarray(state.classes),
                "round": np.asarray(state.round),
                "left": np.asarray(state.left),
                "seconds": np.asarray(spent[0] + time.perf_counter() - begun),
                "passes": np.asarray(spent[1] + passes.images),
            }
            store.save(attack.name, arrays)

        state = aa.autoattack(
            victim.model,
            images,
            labels,
            settings,
            # The longer APGD starts elsewhere, so that it does not repeat what APGD tried.
            seed=seed_for(attack.kind, victim.seed) if attack.kind == "longer-apgd" else victim.seed,
            wanted={name: torch.from_numpy(flags) for name, flags in wanted.items()},
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
        int(saved["classes"]),
        int(saved["round"]),
        int(saved["left"]),
    )


def _norm(attack: AttackSpec) -> Norm:
    assert attack.norm in ("linf", "l2", "l1")
    return attack.norm  # type: ignore[return-value]


def survivors(
    attacks: list[AttackSpec],
    verdicts: Mapping[str, Verdict],
    ball: tuple[str, float],
    kinds: Container[str] | None = None,
) -> np.ndarray:
    """(n,) bool: which of the images that APGD attacks in a ball survive every attack within it, or those of ``kinds``.

    Balls are nested: an attack counts that has a smaller radius, or found an image nearer than ``eps``. One that saw
    fewer images breaks only what it saw.
    """
    norm, eps = ball
    (images,) = (attack.images for attack in attacks if attack.kind == "apgd" and attack.ball == ball)
    robust = np.ones(min(images, len(verdicts["clean"].broken)), bool)
    for attack in attacks:
        if attack.name not in verdicts or (kinds is not None and attack.kind not in kinds):
            continue
        if attack.kind != "clean" and attack.norm != norm:
            continue
        verdict = verdicts[attack.name]
        if attack.eps is None:  # what is misclassified without an attack is at distance 0
            broken = verdict.distance[: len(robust)] <= eps
        else:
            broken = verdict.broken[: len(robust)] & (attack.eps <= eps)
        robust[: len(broken)] &= ~broken
    return robust


def minimal_distance(verdict: Verdict, dimensions: int) -> np.ndarray:
    """l2 distances (n,); where the attack found nothing, the diameter of [0, 1]^dimensions, an upper bound."""
    return np.where(np.isfinite(verdict.distance), verdict.distance, dimensions**0.5)
