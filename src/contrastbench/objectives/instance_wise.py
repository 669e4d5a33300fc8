"""NT-Xent over more than two views, as in RoCL (Kim et al., 2020, arXiv 2006.07589)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from contrastbench.errors import UserError


def multi_view_nt_xent(views: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Mean over all V B anchors of the sum of -log softmax over the anchor's V - 1 positives; scalar.

    views: V tensors (B, D), normalised here. The softmax of an anchor runs over all V B - 1 other embeddings, its
    positives are the other views of the same image. With two views it has the value of SimCLR's NT-Xent. As in
    RoCL's code (specification of SwARo, section 6, RoCL), the second factor of every similarity carries no gradient.
    """
    if len(views[0]) < 2:
        raise UserError(f"a contrastive loss needs a batch of at least 2, not {len(views[0])}: there are no negatives")
    with torch.autocast(views[0].device.type, enabled=False):
        z = functional.normalize(torch.cat(list(views)).float(), dim=1)
        similarity = z @ z.detach().T / temperature
        denominator = similarity.clone().fill_diagonal_(-math.inf).logsumexp(dim=1)
        batch = len(views[0])
        total = z.new_zeros(())
        for offset in range(batch, len(z), batch):
            positive = (z * z.detach().roll(offset, 0)).sum(dim=1) / temperature
            total = total + (denominator - positive).mean()
        return total
