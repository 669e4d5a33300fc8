"""Checks that a robustness evaluation must pass to be believed (Carlini et al. 2019, arXiv 1902.06705, section 5).

Each returns None, or one line that says what is wrong; a row with such lines is marked in every table. Arrays are
(n,) bool: whether each image is still classified correctly. Comparisons are paired, on the images that both share.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn

from contrastbench.attacks.geometry import require_gradients

SIGNIFICANCE = 0.01
TOLERANCE = 0.03  # of all images: what more effort may still change where an attack has converged
AT_LARGE_RADIUS = 0.02  # robust accuracy that is still accepted at the large radius


def clearly_more(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether ``first`` has more correct images than ``second`` beyond chance (exact one-sided McNemar test)."""
    count = min(len(first), len(second))
    only_first = int((first[:count] & ~second[:count]).sum())
    only_second = int((second[:count] & ~first[:count]).sum())
    if only_first + only_second == 0:
        return False
    return binomtest(only_first, only_first + only_second, 0.5, alternative="greater").pvalue < SIGNIFICANCE


def large_radius_breaks_all(at_large: np.ndarray, eps: float) -> str | None:
    """No image survives a very large radius, at which any image can become any other."""
    share = float(at_large.mean())
    if share <= AT_LARGE_RADIUS:
        return None
    return f"{share:.1%} of the images survive eps {eps:g}, which none should: the attack is blocked, not resisted"


def has_converged(attack: str, left: np.ndarray, stronger: Mapping[str, np.ndarray]) -> str | None:
    """``attack``, which ``left`` these images, leaves about as many as each of the ``stronger`` ones left, by name."""
    count = min(map(len, (left, *stronger.values())))
    numbers = {name: int(robust[:count].sum()) for name, robust in stronger.items()}
    reached = int(left[:count].sum())
    if all(abs(reached - number) <= max(1, TOLERANCE * count) for number in numbers.values()):
        return None
    others = " and ".join(f"{number / count:.1%} {name}" for name, number in numbers.items())
    return f"{attack} has not converged: {reached / count:.1%} survive it, {others}"


def nothing_is_left_to_find(left: np.ndarray, broken: np.ndarray, by: str) -> str | None:
    """``by`` breaks few of the images that APGD and all before it ``left`` (n,).

    ``broken`` (m,) is of those among them that it saw.
    """
    lost = left.mean() * broken.mean() if len(broken) else 0.0
    if broken.sum() <= 1 or lost <= TOLERANCE:
        return None
    return (
        f"the attacks have not converged: {left.mean():.1%} survive, but {by} breaks {broken.sum()} of {len(broken)} "
        f"of them, which leaves {left.mean() - lost:.1%}"
    )


def white_box_is_strongest(white: np.ndarray, black: np.ndarray, name: str) -> str | None:
    """Attacks with gradients are at least as strong as ``name``, which has none."""
    count = min(len(white), len(black))
    if not clearly_more(white[:count], black[:count]):
        return None
    return (
        f"{name} is stronger than attacks with gradients ({black[:count].mean():.1%} survive, "
        f"not {white[:count].mean():.1%}): they are masked"
    )


def own_attack_is_as_strong(ours: np.ndarray, foolboxs: np.ndarray) -> str | None:
    """Our PGD is not weaker than Foolbox's with the same starts and settings, beyond chance."""
    count = min(len(ours), len(foolboxs))
    if not clearly_more(ours[:count], foolboxs[:count]):
        return None
    return (
        f"Foolbox's PGD is stronger than ours ({foolboxs[:count].mean():.1%} survive, not {ours[:count].mean():.1%}): "
        "ours is faulty"
    )


def white_box_is_nearest(white: np.ndarray, black: np.ndarray) -> str | None:
    """HopSkipJump does not find clearly nearer images (distances (n,)) than all gradient searches together."""
    count = min(len(white), len(black))
    white, black = white[:count], black[:count]
    if not clearly_more(black < 0.99 * white, white < 0.99 * black):
        return None
    return f"HopSkipJump finds nearer images than gradients do ({int((black < white).sum())} of {count}): they mislead"


def noise_is_weaker(noise: np.ndarray, fgsm: np.ndarray) -> str | None:
    """Random noise of the same radius is weaker than one gradient step."""
    if not clearly_more(fgsm, noise):
        return None
    return f"random noise is stronger than FGSM ({noise.mean():.1%} survive, not {fgsm.mean():.1%}): gradients mislead"


def perturbations_are_valid(valid: np.ndarray, attack: str) -> str | None:
    """Every image that the attack returned is finite, inside the ball and inside [0, 1]."""
    refused = int((~valid).sum())
    if not refused:
        return None
    return f"{attack}: {refused} of {len(valid)} images left the ball or [0, 1] or were not finite; not counted"


def gradients_are_useful(gradients: Tensor) -> str | None:
    """No image (N, ...) has a gradient that is zero everywhere or not finite."""
    flat = gradients.flatten(1)
    infinite = int((~torch.isfinite(flat)).any(1).sum())
    zero = int((flat == 0).all(1).sum())
    if not infinite and not zero:
        return None
    return (
        f"input gradients: {zero} of {len(flat)} are zero, {infinite} are not finite; gradient attacks are blind there"
    )


def input_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient (N, C, H, W) of the cross-entropy at each image of one batch."""
    require_gradients(model, images[:1], "the check of input gradients")
    with torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    return gradient
