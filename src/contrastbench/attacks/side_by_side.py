"""Targeted APGD (l_inf and l2), targeted FAB and Square (l_inf), with what pyautoattack does in sequence side by side.

pyautoattack takes one target class after another, and one query after another, each time for the few images that are
left; a network takes less time per image when it gets more of them at once. The functions here take pyautoattack's own
attacks, with their settings, and come to the same verdict on every image, from the same random numbers
(tests/test_side_by_side.py); their images differ by rounding.
"""

import torch
from pyautoattack.autopgd_base import APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Generator, Tensor, nn

# Few queries improve an image, but those evaluated beyond one that does are thrown away.
QUERIES_AHEAD = 8


def targeted_apgd(attack: APGDAttack_targeted, x: Tensor, y: Tensor, *, batch_size: int) -> Tensor:
    """``attack.perturb(x, y)`` with as many target classes at once as fit into ``batch_size`` images.

    pyautoattack draws the random starts of a class for the images that the classes before it have left. Here those
    of several classes are drawn as if none broke an image; where one does, the classes behind it run again, for the
    images that it leaves. Therefore a class runs alone until one has broken none, and after one that has.
    """
    attack.init_hyperparam(x)
    likely, left = _targets_and_robust(attack.model, x, y)
    adversarial = x.clone()
    starts = Generator().manual_seed(attack.seed)
    tried, alone = 0, True
    while tried < attack.n_target_classes and len(left):
        count = 1 if alone else min(attack.n_target_classes - tried, max(1, batch_size // len(left)))
        images = x[left].repeat(count, 1, 1, 1)
        noise, states = [], []
        for _ in range(count):
            noise.append(_start(attack.norm, (len(left), *x.shape[1:]), starts))
            states.append(starts.get_state())
        begin = images + attack.eps * attack.normalize(torch.cat(noise).to(x.device))
        attack.y_target = likely[tried : tried + count, left].flatten()
        _, robust, _, found = attack.attack_single_run(images, y[left].repeat(count), begin)
        broken = (robust == 0).view(count, -1)
        alone = bool(broken.any())
        last = int(broken.any(1).int().argmax()) if alone else count - 1
        adversarial[left[broken[last]]] = found.view(count, len(left), *x.shape[1:])[last, broken[last]]
        left = left[~broken[last]]
        starts.set_state(states[last])
        tried += last + 1
    return adversarial


def _start(norm: str, size: tuple[int, ...], generator: Generator) -> Tensor:
    """What pyautoattack scales to the ball's radius for a random start."""
    if norm == "Linf":
        return 2 * torch.rand(size, generator=generator) - 1
    return torch.randn(size, generator=generator)


def targeted_fab(attack: FABAttack_PT, x: Tensor, y: Tensor, *, batch_size: int) -> Tensor:
    """``attack.perturb(x, y)`` with as many target classes at once as fit into ``batch_size`` images."""
    likely, left = _targets_and_robust(attack.predict, x, y)
    adversarial = x.clone()
    tried = 0
    while tried < attack.n_target_classes and len(left):
        count = min(attack.n_target_classes - tried, max(1, batch_size // len(left)))
        targets = likely[tried : tried + count, left]
        images = x[left].repeat(len(targets), 1, 1, 1)
        found, distance = _nearest(attack, images, y[left].repeat(len(targets)), targets.flatten())
        inside = (distance <= attack.eps).view(targets.shape)
        broken, first = inside.any(0), inside.int().argmax(0)
        found = found.view(*targets.shape, *x.shape[1:])[first, torch.arange(len(left), device=x.device)]
        adversarial[left[broken]] = found[broken]
        left = left[~broken]
        tried += count
    return adversarial


def _targets_and_robust(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Classes (K - 1, N) behind the most likely one, likely ones first; positions of the images classified as ``y``."""
    with torch.no_grad():
        logits = model(x)
    return logits.argsort(1).flip(1)[:, 1:].T, torch.nonzero(logits.argmax(1) == y).flatten()


def _nearest(attack: FABAttack_PT, images: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """FAB (Croce & Hein 2020, arXiv 1907.02044, algorithm 1): the nearest misclassified images, and their distances.

    The distance (N,) is inf where none was found.
    """
    rows = torch.arange(len(images), device=images.device)
    x, nearest = images, images.clone()
    distance = torch.full_like(rows, torch.inf, dtype=images.dtype)
    for _ in range(attack.n_iter):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = attack.predict(x)
            difference = logits[rows, targets] - logits[rows, labels]
            (gradient,) = torch.autograd.grad(difference.sum(), x)
        x, difference = x.detach(), difference.detach()
        at_images = difference + (gradient * (images - x)).flatten(1).sum(1)
        step = to_hyperplane(x, gradient, difference)
        step_of_images = to_hyperplane(images, gradient, at_images)
        lengths = [each.flatten(1).abs().amax(1).clamp_min(1e-8) for each in (step, step_of_images)]
        share = (lengths[0] / (lengths[0] + lengths[1])).clamp(0, attack.alpha_max).view(-1, 1, 1, 1)
        x = (x + attack.eta * step) * (1 - share) + (images + attack.eta * step_of_images) * share
        x = x.clamp(0, 1)
        with torch.no_grad():
            fooled = attack.predict(x).argmax(1) != labels
        length = (x - images).flatten(1).abs().amax(1)
        closer = fooled & (length < distance)
        nearest, distance = torch.where(closer.view(-1, 1, 1, 1), x, nearest), torch.where(closer, length, distance)
        x = torch.where(fooled.view(-1, 1, 1, 1), images + (x - images) * attack.beta, x)
    return nearest, distance


def to_hyperplane(x: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """The step (N, ...) from ``x`` in [0, 1], smallest in l_inf and inside [0, 1], to where a linear function is 0.

    The function has the ``gradient`` (N, ...) and at ``x`` the ``value`` (N,). Every entry goes the same way s, or as
    far as the box lets it; the sum of what they bring is concave and piecewise linear in s, and Newton's method finds
    s from below in finitely many iterations. Where the box does not reach the hyperplane, all go as far as they can.
    """
    weight, wanted = gradient.flatten(1).abs(), value.abs().unsqueeze(1)
    direction = -torch.where(value >= 0, 1.0, -1.0).unsqueeze(1) * gradient.flatten(1).sign()
    points = x.flatten(1)
    room = torch.where(direction > 0, 1 - points, points)
    step = torch.zeros_like(wanted)
    while True:
        free = room > step
        brought = (weight * room).masked_fill(free, 0).sum(1, keepdim=True)
        rate = (weight * free).sum(1, keepdim=True)
        further = torch.where(rate > 0, (wanted - brought) / rate, torch.inf)
        if not bool((further > step).any()):  # nor where they are not a number
            return (direction * torch.minimum(step, room)).view_as(x)
        step = torch.maximum(step, further)


def square(attack: SquareAttack, x: Tensor, y: Tensor, *, batch_size: int) -> Tensor:
    """``attack.perturb(x, y)`` with up to ``QUERIES_AHEAD`` queries of each image at once.

    The squares that are tried do not depend on what earlier ones did, so every image goes through them at its own
    pace: of those evaluated at once it takes the first that improves it, and goes on behind it. Squares that change
    nothing are not evaluated.
    """
    attack.init_hyperparam(x)
    with torch.no_grad():
        robust = torch.nonzero(attack.predict(x).argmax(1) == y).flatten()
        adversarial = x.clone()
        if len(robust):
            best, margin = _random_search(attack, x[robust], y[robust], batch_size)
            adversarial[robust[margin <= 0]] = best[margin <= 0]
    return adversarial


def _random_search(attack: SquareAttack, x: Tensor, y: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """The best images that the queries found, and their margins (N,), 0 or less where they fool the model."""
    generator = Generator().manual_seed(attack.seed)
    stripes = torch.rand((len(x), x.shape[1], 1, x.shape[3]), generator=generator)
    changes = _Squares(attack, x, generator)
    low, high = (x - attack.eps).clamp_min(0), (x + attack.eps).clamp_max(1)
    best = (x + attack.eps * (2 * stripes - 1).sign().to(x.device)).clamp(0, 1)
    margin = _margin(attack.predict(best), y)
    tried = torch.zeros_like(y)
    while len(left := torch.nonzero((margin > 0) & (tried < attack.n_queries)).flatten()):
        count = min(QUERIES_AHEAD, max(1, batch_size // len(left)))
        queries = tried[left].unsqueeze(1) + torch.arange(count, device=x.device)
        now = best[left].unsqueeze(1)
        proposed = now + changes.at(queries.clamp_max(attack.n_queries - 1))
        proposed = torch.minimum(torch.maximum(proposed, low[left].unsqueeze(1)), high[left].unsqueeze(1))
        worth = (proposed != now).flatten(2).any(2) & (queries < attack.n_queries)
        margins = torch.full(queries.shape, torch.inf, dtype=margin.dtype, device=x.device)
        margins[worth] = _margin(attack.predict(proposed[worth]), y[left].unsqueeze(1).expand_as(worth)[worth])
        better = (margins < margin[left].unsqueeze(1)) | (margins <= 0)
        improved, first = better.any(1), better.int().argmax(1)
        tried[left] += torch.where(improved, first + 1, count)
        best[left[improved]] = proposed[improved, first[improved]]
        margin[left[improved]] = margins[improved, first[improved]]
    return best, margin


class _Squares:
    """The change of every query: 2 eps or -2 eps in a square, by channel. Drawn in pyautoattack's order."""

    def __init__(self, attack: SquareAttack, x: Tensor, generator: Generator) -> None:
        channels, height, width = x.shape[1:]
        shares = torch.tensor([attack.p_selection(number) for number in range(attack.n_queries)], dtype=torch.float64)
        sides = (shares * height * width).sqrt().round().clamp(1, min(height, width)).long()
        drawn = torch.rand((attack.n_queries, 2 + channels), generator=generator)
        self.rows = _inside(height, sides, drawn[:, 0]).to(x.device)
        self.columns = _inside(width, sides, drawn[:, 1]).to(x.device)
        self.change = (2 * attack.eps * (2 * drawn[:, 2:] - 1).sign()).to(x.device)

    def at(self, queries: Tensor) -> Tensor:
        """The changes (N, M, C, H, W) of ``queries`` (N, M)."""
        inside = self.rows[queries].unsqueeze(3) & self.columns[queries].unsqueeze(2)
        return self.change[queries][..., None, None] * inside.unsqueeze(2)


def _inside(extent: int, sides: Tensor, drawn: Tensor) -> Tensor:
    """Which of ``extent`` rows or columns lie in squares of ``sides`` (Q,) at random places: (Q, extent)."""
    begin = ((extent - sides) * drawn).long().unsqueeze(1)
    number = torch.arange(extent)
    return (begin <= number) & (number < begin + sides.unsqueeze(1))


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far (N,) the logit of the label lies above the highest other one."""
    of_label = labels.unsqueeze(1)
    return logits.gather(1, of_label).squeeze(1) - logits.scatter(1, of_label, -torch.inf).amax(1)
