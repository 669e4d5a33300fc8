"""Transfer attacks: images crafted on one classifier, judged by every other."""

from dataclasses import dataclass

import numpy as np
import torch

from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.evaluation.robustness import Target
from contrastbench.evaluation.sanity import perturbations_are_valid, white_box_is_strongest
from contrastbench.evaluation.verdicts import PartialStore
from contrastbench.training.seeds import generator_for


@dataclass(frozen=True)
class Transfer:
    """Images crafted on every source, and what became of them.

    stands  ``stands[source][target]`` (n,) bool: images that the target still classifies correctly
    valid   ``valid[source]`` (n,) bool: images that are finite, inside the ball and in [0, 1]; others break nothing
    """

    stands: dict[str, dict[str, np.ndarray]]
    valid: dict[str, np.ndarray]

    def failed_checks(self, source: str, target: str) -> list[str]:
        """A transferred attack must be valid and must not beat the target's own white-box attack."""
        name = f"transfer from {source}"
        lines = [
            perturbations_are_valid(self.valid[source], name),
            white_box_is_strongest(self.stands[target][target], self.stands[source][target], name),
        ]
        return [line for line in lines if line]


def transfer_matrix(targets: dict[str, Target], store: PartialStore, *, eps: float, steps: int, count: int) -> Transfer:
    """PGD (l_inf) on every classifier's first ``count`` images, without leaving early, judged by every classifier.

    Batches that ``store`` knows are not run again; it must be of these targets and settings.
    """
    known = {source: _of_source(source, targets, store, eps, steps, count) for source in targets}
    return Transfer(
        {source: {name: arrays[f"stands-{name}"] for name in targets} for source, arrays in known.items()},
        {source: arrays["valid"] for source, arrays in known.items()},
    )


def _of_source(
    source: str, targets: dict[str, Target], store: PartialStore, eps: float, steps: int, count: int
) -> dict[str, np.ndarray]:
    """Arrays ``valid`` and ``stands-TARGET`` of the images crafted on one classifier."""
    crafted_on = targets[source]
    fields = ["valid", *(f"stands-{name}" for name in targets)]
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
            active_set=False,
            generator=generator_for(crafted_on.device, "transfer", crafted_on.seed, source, start),
            batch_size=len(images),
        ).images
        found = {}
        with torch.no_grad():
            for name, judge in targets.items():
                verdict = recount(judge.model, images, adversarial, labels, eps=eps, norm="linf")
                found[f"stands-{name}"] = ~verdict.broken.cpu().numpy()
                found["valid"] = verdict.valid.cpu().numpy()
        arrays = {field: np.concatenate([arrays[field], found[field]]) for field in fields}
        store.save(source, arrays)
    return arrays
