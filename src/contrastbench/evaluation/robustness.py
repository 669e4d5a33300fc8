"""Runs attacks on one classifier, a batch at a time, and keeps every verdict so that a killed run goes on."""

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
from contrastbench.evaluation.verdicts import (
    PartialStore,
    Verdict,
    attack_order,
    from_arrays,
    robust,
    to_arrays,
    worst_case,
)
from contrastbench.modalities.base import Inputs
from contrastbench.params.robustness import MINIMAL, WITH_EVERY_ATTACK, Cell, RobustnessParams
from contrastbench.training.seeds import generator_for, seed_for

FOOLBOX = ("fgsm", *MINIMAL, "hopskipjump")
AUTOATTACK = {"autoattack": aa.STANDARD, "apgd": ("apgd-ce",), "square": ("square",)}


@dataclass(frozen=True)
class Target:
    """A classifier under attack, and the test images.

    model      returns logits, in eval mode, on ``device``, without parameter gradients
    x, y       stored test arrays, possibly memory-mapped; only batches of them go to the device
    inputs     the modality's: stored rows -> (B, C, H, W) in [0, 1]
    seed       decides the order of the images and, with a cell's name, every random number of its attack
    """

    model: nn.Module
    x: np.ndarray
    y: np.ndarray
    inputs: Inputs
    device: torch.device
    seed: int
    batch_size: int

    def images(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images and labels ``start`` to ``stop`` of the order in which all attacks take them."""
        chosen = attack_order(len(self.y), self.seed)[start:stop]
        images = self.inputs(self.x[chosen], self.device)
        return images.contiguous(), torch.from_numpy(np.array(self.y[chosen])).to(self.device)


def evaluate(
    target: Target, cells: list[Cell], store: PartialStore, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Verdict]:
    """The verdict of every cell, by its name; cells and batches that ``store`` knows are not run again."""
    verdicts: dict[str, Verdict] = {}
    for cell in cells:
        count = min(cell.images, len(target.y))
        if cell.kind in AUTOATTACK:
            verdicts[cell.name] = _autoattack_cell(target, cell, count, store)
        else:
            verdicts[cell.name] = _batched_cell(target, cell, count, store, verdicts.get("clean"))
        progress(f"{cell.name}: {robust(verdicts[cell.name]).mean():.1%} stand")
    return verdicts


def _batched_cell(target: Target, cell: Cell, count: int, store: PartialStore, clean: Verdict | None) -> Verdict:
    verdict = from_arrays(store.load(cell.name))
    while len(verdict.broken) < count:
        start = len(verdict.broken)
        stop = min(count, start + target.batch_size)
        images, labels = target.images(start, stop)
        misclassified = None if clean is None else torch.from_numpy(clean.broken[start:stop])
        begun = time.perf_counter()
        with ImagePasses(target.model) as passes:
            judged = _attack_batch(target, cell, images, labels, start, misclassified)
        found = Verdict(
            judged.broken.cpu().numpy(),
            judged.valid.cpu().numpy(),
            judged.distance.float().cpu().numpy(),
            passes.images,
            time.perf_counter() - begun,
        )
        verdict = verdict.joined(found)
        store.save(cell.name, to_arrays(verdict))
    return verdict


def _attack_batch(
    target: Target, cell: Cell, images: Tensor, labels: Tensor, start: int, misclassified: Tensor | None
) -> Recount:
    """One batch of any attack but AutoAttack, recounted. Its random stream hangs on seed, cell and position."""
    # Foolbox's PGD starts where ours does, so that one can be held against the other.
    name = cell.name.removeprefix("foolbox-")
    model, norm, stream = target.model, _norm(cell), ("attack", target.seed, name, start)
    if cell.kind in FOOLBOX or cell.kind == "foolbox-pgd":
        _, judged = run_foolbox(
            cell.kind if cell.kind in FOOLBOX else f"pgd-{cell.norm}",
            model,
            images,
            labels,
            seed=seed_for(*stream),
            eps=cell.eps,
            steps=cell.steps or None,
            step_size=cell.step_size,
        )
        return judged
    generator = generator_for(target.device, *stream)
    if cell.kind == "clean":
        adversarial = images
    elif cell.kind == "noise":
        assert cell.eps is not None
        adversarial = (images + random_perturbation(images, cell.eps, norm, generator)).clamp(0, 1)
    else:
        assert cell.kind == "pgd" and cell.eps is not None, cell
        adversarial = pgd(
            model,
            images,
            labels,
            eps=cell.eps,
            steps=cell.steps,
            norm=norm,
            misclassified=misclassified,
            generator=generator,
        ).images
    return recount(model, images, adversarial, labels, eps=cell.eps, norm=norm)


def _autoattack_cell(target: Target, cell: Cell, count: int, store: PartialStore) -> Verdict:
    """AutoAttack, one of its attacks, or Square alone; the store holds pyautoattack's place in its list."""
    assert cell.eps is not None
    settings = aa.Settings(
        cell.eps,
        _norm(cell),
        AUTOATTACK[cell.kind],
        target.batch_size,
        iterations=cell.steps if cell.kind == "apgd" else None,
        queries=cell.steps if cell.kind == "square" else None,
    )
    saved = store.load(cell.name)
    if "broken" in saved:
        return from_arrays(saved)
    parts = [target.images(start, min(count, start + 512)) for start in range(0, count, 512)]
    images, labels = torch.cat([part[0].cpu() for part in parts]), torch.cat([part[1].cpu() for part in parts])
    spent = float(saved.get("seconds", 0.0)), int(saved.get("passes", 0))
    begun = time.perf_counter()
    with ImagePasses(target.model) as passes:

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
            store.save(cell.name, arrays)

        state = aa.autoattack(
            target.model,
            images,
            labels,
            settings,
            seed=target.seed,
            device=target.device,
            state=_state(saved),
            save=save,
        )
    assert state.broken_by is not None and state.refused is not None
    broken_by = state.broken_by.numpy()
    verdict = Verdict(
        broken_by != aa.ROBUST,
        ~state.refused.numpy(),
        np.full(count, np.nan, np.float32),  # AutoAttack fills the ball; its distances mean nothing
        spent[1] + passes.images,
        spent[0] + time.perf_counter() - begun,
        broken_by,
    )
    store.save(cell.name, to_arrays(verdict))
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


def _norm(cell: Cell) -> Norm:
    assert cell.norm in ("linf", "l2", "l1")
    return cell.norm  # type: ignore[return-value]


def worst_cases(cells: list[Cell], verdicts: dict[str, Verdict], radii: tuple[float, ...]) -> dict[float, np.ndarray]:
    """Which images stand against every l_inf attack up to each radius (evaluation/verdicts.py:worst_case)."""
    known = [(cell.eps or 0.0, verdicts[cell.name]) for cell in cells if cell.norm == "linf" and _counts(cell)]
    return {eps: worst_case(known, eps) for eps in radii}


def _counts(cell: Cell) -> bool:
    return cell.kind == "clean" or cell.eps is not None


def failed_checks(
    target: Target, params: RobustnessParams, dataset: str, head: str, verdicts: dict[str, Verdict]
) -> dict[str, list[str]]:
    """The checks of ``sanity`` that this evaluation fails: by cell name, and under ``""`` those on all its rows."""
    budget, steps = params.budget(dataset), params.steps
    main = f"{budget.main:.4g}"
    stands = {name: robust(verdict) for name, verdict in verdicts.items()}
    white = stands[f"pgd-{steps.pgd}-linf@{main}"]
    images, labels = target.images(0, min(params.images.gradient, target.batch_size))
    general = [sanity.gradients_are_useful(sanity.input_gradients(target.model, images, labels))]
    if head in WITH_EVERY_ATTACK:
        large = stands[f"pgd-{steps.pgd}-linf@{budget.large:.4g}"]
        longer = stands[f"pgd-{steps.pgd_long}-linf@{main}"]
        general += [
            sanity.large_radius_breaks_all(large, budget.large),
            sanity.more_steps_never_help_the_defender(white, longer),
            sanity.noise_is_weaker(stands[f"noise@{main}"], stands[f"fgsm@{main}"]),
        ]
    foolboxs = f"foolbox-pgd-{steps.pgd}-linf@{main}"
    if foolboxs in stands:
        general.append(sanity.own_attack_is_as_strong(white, stands[foolboxs]))
    if f"square@{main}" in stands:
        general.append(sanity.white_box_is_strongest(white, stands[f"square@{main}"], "Square"))
    nearest = [verdicts[name].distance for name in (f"{kind}-l2" for kind in MINIMAL) if name in verdicts]
    if nearest and "hopskipjump-l2" in verdicts:
        general.append(sanity.white_box_is_nearest(np.minimum.reduce(nearest), verdicts["hopskipjump-l2"].distance))
    own = {name: [sanity.perturbations_are_valid(verdict.valid, name)] for name, verdict in verdicts.items()}
    return {name: [line for line in lines if line] for name, lines in (own | {"": general}).items()}


def minimal_distance(verdict: Verdict, dimensions: int) -> np.ndarray:
    """l2 distances (n,); where the attack found nothing, the diameter of [0, 1]^dimensions, beyond which nothing is."""
    return np.where(np.isfinite(verdict.distance), verdict.distance, dimensions**0.5)
