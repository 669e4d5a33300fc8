"""Foolbox's attacks, seeded and recounted, in one table; nothing else in the package calls Foolbox.

Foolbox's own defaults overstate robustness (see docs/protocols/robustness.md), so every setting is explicit.
DeepFool, Carlini-Wagner and DDN (Rony et al. 2019, arXiv 1811.09600) search for the smallest l2 perturbation;
HopSkipJump does so using only the model's decisions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import foolbox
import torch
from foolbox.attacks.base import Attack
from torch import Tensor, nn

from contrastbench.attacks.geometry import UNIT, Norm, check_inputs, global_seed, require_gradients
from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.recount import Recount, recount

CHECKED = 8  # images whose outputs are checked; a single one might be a distribution by chance


@dataclass(frozen=True)
class FoolboxAttack:
    """``build`` makes the attack from its number of steps and its step size; only PGD and C&W read the latter."""

    norm: Norm
    minimal: bool  # searches for the smallest perturbation instead of staying in a given ball
    needs_gradients: bool
    build: Callable[[int, Any], Attack]


ATTACKS: dict[str, FoolboxAttack] = {
    "fgsm": FoolboxAttack("linf", False, True, lambda *_: foolbox.attacks.LinfFastGradientAttack()),
    "pgd-linf": FoolboxAttack("linf", False, True, lambda n, step: foolbox.attacks.LinfPGD(abs_stepsize=step, steps=n)),
    "pgd-l1": FoolboxAttack("l1", False, True, lambda n, step: foolbox.attacks.L1PGD(abs_stepsize=step, steps=n)),
    "deepfool": FoolboxAttack("l2", True, True, lambda n, _: foolbox.attacks.L2DeepFoolAttack(steps=n)),
    "cw": FoolboxAttack(
        "l2",
        True,
        True,
        # The change of variables is flat at 0 and 1, the value of most pixels of digits: with Foolbox's step of 0.01
        # they hardly move in 100 steps. On photographs, a step of 0.1 jumps past the nearest images.
        lambda n, step: foolbox.attacks.L2CarliniWagnerAttack(
            steps=n, binary_search_steps=5, stepsize=step, initial_const=1.0
        ),
    ),
    "ddn": FoolboxAttack("l2", True, True, lambda n, _: foolbox.attacks.DDNAttack(steps=n, init_epsilon=1.0)),
    "hopskipjump": FoolboxAttack(
        "l2", True, False, lambda n, _: foolbox.attacks.HopSkipJumpAttack(steps=n, max_gradient_eval_steps=1000)
    ),
}


def run_foolbox(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    steps: int,
    eps: float | None = None,
    step_size: float | None = None,
) -> tuple[Tensor, Recount]:
    """Run the attack ``name`` on one batch of ``images`` (N, C, H, W) in [0, 1]; its images, and our recount of them.

    steps      ignored by FGSM
    eps        required, except for attacks that search for the smallest perturbation, which take none
    step_size  of PGD, in the norm of its ball; of C&W: Adam's, in the space of its change of variables

    ``model`` returns logits and is in eval mode, on the device of ``images``. Torch's global generator, which
    Foolbox uses, is seeded for the attack and restored afterwards.
    """
    attack = ATTACKS[name]
    if attack.minimal != (eps is None):
        raise ValueError(f"{name}: {'takes no eps' if attack.minimal else 'needs eps'}")
    check_inputs(images, UNIT, 0.0 if eps is None else eps)
    with torch.no_grad():
        refuse_probabilities(model(images[:CHECKED]))
    if attack.needs_gradients:
        require_gradients(model, images[:1], name)
    device = images.device
    wrapped = foolbox.PyTorchModel(model, bounds=UNIT, device=device)
    with global_seed(seed):
        if name == "hopskipjump":
            adversarial = _hop_skip_jump(attack.build(steps, None), wrapped, model, images, labels)
        else:
            found = attack.build(steps, step_size)(wrapped, images, labels, epsilons=eps)
            adversarial = found[0 if attack.minimal else 1]
    adversarial = adversarial.detach()
    return adversarial, recount(model, images, adversarial, labels, eps=eps, norm=attack.norm)


def _hop_skip_jump(attack: Attack, wrapped: foolbox.PyTorchModel, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """HopSkipJump on the images that are classified correctly, each started from another image of the batch.

    Foolbox's own search for a starting point (blended noise) raises an error where noise does not change the
    class; any image that the model puts into another class is a valid starting point. Where the batch has none
    (the model predicts one class for everything), the attack has failed and the image is returned unchanged.
    """
    with torch.no_grad():
        predicted = model(x).argmax(1)
    right = torch.nonzero(predicted == y).flatten()
    others = predicted[None, :] != y[right, None]
    right, others = right[others.any(1)], others[others.any(1)]
    adversarial = x.clone()
    if len(right):
        starts = x[others.int().argmax(1)]
        adversarial[right] = attack(wrapped, x[right], y[right], starting_points=starts, epsilons=None)[0]
    return adversarial
