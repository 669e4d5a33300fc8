"""Transfer attacks: images crafted on one classifier, classified by every other."""

from dataclasses import dataclass

import numpy as np
import torch

from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.evaluation.robustness import Victim
from contrastbench.evaluation.sanity import perturbations_are_valid, white_box_is_strongest
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.training.seeds import generator_for


@dataclass(frozen=True)
class TransferMatrix:
    """What every classifier makes of the images crafted on every source.

    robust  ``robust[source][victim]`` (n,) bool: images that the victim still classifies correctly
    valid   ``valid[source]`` (n,) bool: images that are finite, inside the ball and in [0, 1]; others break nothing
    """

    robust: dict[str, dict[str, np.ndarray]]
    valid: dict[str, np.ndarray]

    def failed_checks(self, source: str, victim: str) -> list[str]:
        """A transferred attack must be valid and must not be stronger than the white-box attack on the victim."""
        name = f"transfer from {source}"
        lines = [
            perturbations_are_valid(self.valid[source], name),
            white_box_is_strongest(self.robust[victim][victim], self.robust[source][victim], name),
        ]
        return [line for line in lines if line]


def transfer_matrix(
    victims: dict[str, Victim], store: PartialStore, *, eps: float, steps: int, step_size: float, count: int
) -> TransferMatrix:
    """l_inf PGD on every classifier's first ``count`` images, all taking every step; every classifier is a victim.

    Batches that ``store`` holds are not run again; it must be of these victims and settings.
    """
    known = {source: _of_source(source, victims, store, eps, steps, step_size, count) for source in victims}
    return TransferMatrix(
        {source: {name: arrays[f"robust-{name}"] for name in victims} for source, arrays in known.items()},
        {source: arrays["valid"] for source, arrays in known.items()},
    )


def _of_source(
    source: str, victims: dict[str, Victim], store: PartialStore, eps: float, steps: int, step_size: float, count: int
) -> dict[str, np.ndarray]:
    """Arrays ``valid`` and ``robust-VICTIM`` of the images crafted on one classifier."""
    crafted_on = victims[source]
    fields = ["valid", *(f"robust-{name}" for name in victims)]
    arrays = store.load(source) or {field: np.zeros(0, bool) for field in fields}
    total = min(count, len(crafted_on.y))
    while (start := len(arrays["valid"])) < total:
        images, labels = crafted_on.images(start, min(total, start + crafted_on.batch_size))
        adversarial = pgd(
            crafted_on.model,
            images,
            labels,
            eps=eps,
            steps=steps,
            step_size=step_size,
            active_set=False,
            generator=generator_for(crafted_on.device, "transfer", crafted_on.seed, source, start),
            batch_size=len(images),
        ).images
        found = {}
        with torch.no_grad():
            for name, victim in victims.items():
                counted = recount(victim.model, images, adversarial, labels, eps=eps, norm="linf")
                found[f"robust-{name}"] = ~counted.broken.cpu().numpy()
                found["valid"] = counted.valid.cpu().numpy()
        arrays = {field: np.concatenate([arrays[field], found[field]]) for field in fields}
        store.save(source, arrays)
    return arrays
