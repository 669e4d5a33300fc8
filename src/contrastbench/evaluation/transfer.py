"""Transfer attacks: images crafted on one classifier, judged by every other."""

from dataclasses import dataclass

import numpy as np
import torch

from contrastbench.attacks.pgd import pgd
from contrastbench.attacks.recount import recount
from contrastbench.evaluation.robustness import Target
from contrastbench.evaluation.sanity import white_box_is_strongest
from contrastbench.training.seeds import generator_for


@dataclass(frozen=True)
class Transfer:
    """``stands[source][target]`` (n,) bool: images that the target still classifies correctly."""

    stands: dict[str, dict[str, np.ndarray]]

    def failed_checks(self, source: str, target: str) -> list[str]:
        """A transferred attack must not beat the target's own white-box attack."""
        line = white_box_is_strongest(
            self.stands[target][target], self.stands[source][target], f"transfer from {source}"
        )
        return [line] if line and source != target else []


def transfer_matrix(targets: dict[str, Target], *, eps: float, steps: int, count: int) -> Transfer:
    """PGD (l_inf) on every classifier's first ``count`` images, without leaving early, judged by every classifier."""
    stands: dict[str, dict[str, list[np.ndarray]]] = {source: {name: [] for name in targets} for source in targets}
    for source, crafted_on in targets.items():
        total = min(count, len(crafted_on.y))
        for start in range(0, total, crafted_on.batch_size):
            images, labels = crafted_on.images(start, min(total, start + crafted_on.batch_size))
            generator = generator_for(crafted_on.device, "transfer", crafted_on.seed, source, start)
            adversarial = pgd(
                crafted_on.model,
                images,
                labels,
                eps=eps,
                steps=steps,
                active_set=False,
                generator=generator,
                batch_size=len(images),
            ).images
            with torch.no_grad():
                for name, judge in targets.items():
                    verdict = recount(judge.model, images, adversarial, labels, eps=eps, norm="linf")
                    stands[source][name].append(~verdict.broken.cpu().numpy())
    return Transfer({s: {t: np.concatenate(parts) for t, parts in row.items()} for s, row in stands.items()})
