"""SwARo's targets: the code that each first view is pushed towards or away from (specification of SwARo, 1.3, 2-6)."""

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

Target = Literal["permuted", "own-untargeted", "random-prototype"]


class Targets(NamedTuple):
    """What the attack needs.

    codes      (B, K) the codes in the attack's loss
    direction  (B,) -1 where the attack descends towards the code, +1 where it ascends away from it
    failed     (B,) bool, rows that fail the cluster test (m_i = 0)
    """

    codes: Tensor
    direction: Tensor
    failed: Tensor


@torch.no_grad()
def attack_targets(codes: Tensor, *, target: Target, cluster_test: bool, generator: Generator) -> Targets:
    """Choose a target for every row of ``codes`` (B, K), the codes of the second views.

    ``permuted``: the code of image sigma(i), where sigma is a uniform permutation that may have fixed points.
    ``random-prototype``: the one-hot code of a prototype sampled for every row. With both, the attack descends where
    the target's cluster differs from the row's own (m_i), or everywhere without ``cluster_test``; rows that fail the
    test ascend away from their own code. ``own-untargeted``: all rows ascend away from their own code.
    """
    own = codes.argmax(dim=1)
    if target == "own-untargeted":
        return Targets(codes, torch.ones_like(codes[:, 0]), torch.zeros_like(own, dtype=torch.bool))
    if target == "permuted":
        wanted = codes[torch.randperm(len(codes), generator=generator, device=codes.device)]
    else:
        prototype = torch.randint(codes.shape[1], own.shape, generator=generator, device=codes.device)
        wanted = functional.one_hot(prototype, codes.shape[1]).to(codes.dtype)
    failed = wanted.argmax(dim=1) == own if cluster_test else torch.zeros_like(own, dtype=torch.bool)
    return Targets(torch.where(failed.unsqueeze(1), codes, wanted), torch.where(failed, 1.0, -1.0), failed)
