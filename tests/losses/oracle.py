"""The losses as formulas, in float64 with N x N matrices, written from the papers and sharing nothing with our code."""

from __future__ import annotations

import torch
from torch import Tensor


def similarity(z: Tensor, t0: float = 0.07) -> Tensor:
    """(1 - mean over i != j of z_i . z_j) / t0 for rows (N, d)."""
    n = len(z)
    if n < 2:
        return 0 * z.sum()
    others = ~torch.eye(n, dtype=torch.bool)
    return (1 - (z @ z.T)[others].mean()) / t0


def similarity_of_labels(z: Tensor, labels: Tensor, t0: float = 0.07) -> Tensor:
    """Each label's own similarity loss, weighted by its number of rows."""
    if len(z) == 0:
        return z.sum()
    parts = [(labels == label).sum() * similarity(z[labels == label], t0) for label in labels.unique()]
    return torch.stack(parts).sum() / len(z)


def ntxent(z1: Tensor, z2: Tensor, t: float = 0.1, t0: float = 0.07) -> Tensor:
    """Mean over views of -(t/t0) (s_ip/t - log sum over j != i of exp(s_ij/t))."""
    n = len(z1)
    if n == 0:
        return z1.sum()
    z = torch.cat((z1, z2))
    partner = (torch.arange(2 * n) + n) % (2 * n)
    return _contrast(z, torch.eye(2 * n, dtype=torch.float64)[partner], t, t0)


def supcon(z: Tensor, labels: Tensor, t: float = 0.1, t0: float = 0.07) -> Tensor:
    """The same with the mean over all other rows of one's label in place of s_ip; rows without any are left out."""
    positive = (labels[:, None] == labels[None, :]) & ~torch.eye(len(z), dtype=torch.bool)
    if not positive.any():
        return 0 * z.sum()
    return _contrast(z, positive.double(), t, t0)


def _contrast(z: Tensor, positive: Tensor, t: float, t0: float) -> Tensor:
    s = z @ z.T / t
    log_sum = s.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf).logsumexp(1, keepdim=True)
    per_pair = -(t / t0) * (s - log_sum)
    anchors = positive.sum(1) > 0
    return ((per_pair * positive).sum(1)[anchors] / positive.sum(1)[anchors]).mean()


def weaksupcon(
    views: Tensor, labels: Tensor, pure: tuple[int, ...] = (0,), w: float = 1.0, t: float = 0.1, t0: float = 0.07
) -> Tensor:
    """w * similarity within pure labels + ntxent of all other patches, for views (n, 2, d)."""
    is_pure = torch.isin(labels, torch.tensor(pure, dtype=labels.dtype))
    z = views[is_pure].flatten(0, 1)
    mixed = views[~is_pure]
    pulled = similarity_of_labels(z, labels[is_pure].repeat_interleave(2), t0)
    return w * pulled + ntxent(mixed[:, 0], mixed[:, 1], t, t0)
