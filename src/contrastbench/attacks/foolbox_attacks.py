"""Foolbox's attacks, seeded and recounted. One table names them; nothing else in the project calls Foolbox.

Foolbox's own defaults overstate robustness (see docs/protocols/robustness.md), so every setting is given here:
20 steps of eps / 10 for PGD (spec 3). DeepFool, Carlini-Wagner and DDN (Rony et al. 2019,
arXiv 1811.09600) search for the smallest l2 perturbation; HopSkipJump does so from decisions alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import foolbox
import torch
from foolbox.attacks.base import Attack
from torch import Tensor, nn

from contrastbench.attacks.geometry import Bounds, Norm, check_inputs, global_seed, require_gradients
from contrastbench.attacks.logits import refuse_probabilities
from contrastbench.attacks.recount import Recount, recount

TENTH = 0.1  # of the radius, a step
REFUSING = 8  # images on which outputs are looked at: one may be a distribution by chance


@dataclass(frozen=True)
class FoolboxAttack:
    """``build`` makes the attack from its number of steps (None: the default below) and, for C&W, its step size."""

    norm: Norm
    minimal: bool  # searches for the smallest perturbation instead of filling a ball
    needs_gradients: bool
    build: Callable[[int | None, float | None], Attack]


ATTACKS: dict[str, FoolboxAttack] = {
    "fgsm": FoolboxAttack("linf", False, True, lambda *_: foolbox.attacks.LinfFastGradientAttack()),
    "pgd-linf": FoolboxAttack(
        "linf", False, True, lambda n, _: foolbox.attacks.LinfPGD(rel_stepsize=TENTH, steps=n or 20)
    ),
    "pgd-l2": FoolboxAttack("l2", False, True, lambda n, _: foolbox.attacks.L2PGD(rel_stepsize=TENTH, steps=n or 20)),
    "pgd-l1": FoolboxAttack("l1", False, True, lambda n, _: foolbox.attacks.L1PGD(rel_stepsize=TENTH, steps=n or 20)),
    "noise": FoolboxAttack("linf", False, False, lambda *_: foolbox.attacks.LinfAdditiveUniformNoiseAttack()),
    "deepfool": FoolboxAttack("l2", True, True, lambda n, _: foolbox.attacks.L2DeepFoolAttack(steps=n or 50)),
    "cw": FoolboxAttack(
        "l2",
        True,
        True,
        # The change of variables is flat at 0 and 1, where most pixels of digits lie: with Foolbox's step of 0.01 they
        # hardly move in 100 steps. On photographs a step of 0.1 leaps over the nearest images.
        lambda n, step: foolbox.attacks.L2CarliniWagnerAttack(
            steps=n or 100, binary_search_steps=5, stepsize=step or 0.01, initial_const=1.0
        ),
    ),
    "ddn": FoolboxAttack("l2", True, True, lambda n, _: foolbox.attacks.DDNAttack(steps=n or 100, init_epsilon=1.0)),
    "hopskipjump": FoolboxAttack(
        "l2", True, False, lambda n, _: foolbox.attacks.HopSkipJumpAttack(steps=n or 10, max_gradient_eval_steps=1000)
    ),
}


def run_foolbox(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    eps: float | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    bounds: Bounds = (0.0, 1.0),
) -> tuple[Tensor, Recount]:
    """One batch through attack ``name``: its images (N, C, H, W) and our recount of them.

    ``eps`` is required, except for attacks that search for the smallest perturbation, which take none; ``step_size``
    is C&W's, of Adam in the space of its change of variables (default: Foolbox's).
    ``model`` returns logits and is in eval mode, on the device of ``images``. Torch's global generator,
    which Foolbox draws from, is seeded for the attack and given back as it was.
    """
    attack = ATTACKS[name]
    if attack.minimal != (eps is None):
        raise ValueError(f"{name}: {'takes no eps' if attack.minimal else 'needs eps'}")
    check_inputs(images, bounds, 0.0 if eps is None else eps)
    with torch.no_grad():
        refuse_probabilities(model(images[:REFUSING]))
    if attack.needs_gradients:
        require_gradients(model, images[:1], name)
    device = images.device
    wrapped = foolbox.PyTorchModel(model, bounds=bounds, device=device)
    with global_seed(seed):
        if name == "hopskipjump":
            adversarial = _hop_skip_jump(attack.build(steps, None), wrapped, model, images, labels)
        else:
            found = attack.build(steps, step_size)(wrapped, images, labels, epsilons=eps)
            adversarial = found[0 if attack.minimal else 1]
    adversarial = adversarial.detach()
    return adversarial, recount(model, images, adversarial, labels, eps=eps, norm=attack.norm, bounds=bounds)


def _hop_skip_jump(attack: Attack, wrapped: foolbox.PyTorchModel, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """HopSkipJump on the images that are classified correctly, each started from another image of the batch.

    Foolbox's own search for a starting point (blended noise) gives up with an error where noise keeps the
    class; an image that the model puts into another class is a starting point by definition. Where the batch
    has none (the model gives one class for everything), the attack has failed and the image is left as it is.
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
