"""SwARo's targets: which code every first view is pushed to or from (specification of SwARo, 1.3, steps 2 to 6)."""

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

Target = Literal["permuted", "own-untargeted", "random-prototype"]


class Targets(NamedTuple):
    """What the attack needs.

    codes      (B, K) the code that the loss is taken to
    direction  (B,) -1 where the attack descends to that code, +1 where it climbs away from it
    failed     (B,) bool, rows that the cluster test turned down (m_i = 0)
    """

    codes: Tensor
    direction: Tensor
    failed: Tensor


@torch.no_grad()
def attack_targets(codes: Tensor, *, target: Target, cluster_test: bool, generator: Generator) -> Targets:
    """Draw a target for every row of ``codes`` (B, K), the codes of the second views.

    ``permuted``: the code of image sigma(i), sigma a uniform permutation with fixed points as they fall.
    ``random-prototype``: the one-hot code of a prototype drawn anew for every row. Both descend where the target's
    cluster differs from the row's own (m_i), everywhere with ``cluster_test`` off; rows that fail the test climb
    away from their own code. ``own-untargeted``: all rows climb away from their own code.
    """
    own = codes.argmax(dim=1)
    if target == "own-untargeted":
        return Targets(codes, torch.ones_like(codes[:, 0]), torch.zeros_like(own, dtype=torch.bool))
    if target == "permuted":
        wanted = codes[torch.randperm(len(codes), generator=generator, device=codes.device)]
    else:
        drawn = torch.randint(codes.shape[1], own.shape, generator=generator, device=codes.device)
        wanted = functional.one_hot(drawn, codes.shape[1]).to(codes.dtype)
    failed = wanted.argmax(dim=1) == own if cluster_test else torch.zeros_like(own, dtype=torch.bool)
    return Targets(torch.where(failed.unsqueeze(1), codes, wanted), torch.where(failed, 1.0, -1.0), failed)
