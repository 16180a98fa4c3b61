"""The features for measuring the losses: random unit vectors, with half of the patches pure and half mixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PARTS = ("weaksupcon", "similarity", "contrastive", "supcon")
"""The whole loss, its two halves apart, and the baseline it is compared with in training."""

TEMPERATURE = 0.1
BASE_TEMPERATURE = 0.07
PURE, MIXED = 0, 1


@dataclass(frozen=True)
class Batch:
    """One process's share: n patches, two views each."""

    views: Tensor  # (n, 2, d) float32, of length 1, a leaf that wants its gradient
    labels: Tensor  # (n,) PURE or MIXED
    patches: Tensor  # (n,) a number a patch, different in every process
    row_labels: Tensor  # (2n,) the labels of views.flatten(0, 1)
    row_patches: Tensor  # (2n,)

    @property
    def rows(self) -> Tensor:
        return self.views.flatten(0, 1)


def make_batch(part: str, patches: int, dim: int, rank: int, processes: int) -> Batch:
    """The share of process `rank` in a global batch of `patches`, half pure and half mixed; the same each time.

    `similarity` sees the pure half alone, `contrastive` the mixed half alone, the others both.
    """
    labels = {"similarity": [PURE], "contrastive": [MIXED]}.get(part, [PURE, MIXED])
    share = patches // (2 * processes)  # of each half
    own = torch.tensor(labels).repeat(share)
    numbers = torch.arange(len(own)) + rank * len(own)
    views = torch.empty(len(own), 2, dim).normal_(generator=torch.Generator().manual_seed(rank))
    views /= views.norm(dim=-1, keepdim=True)
    return Batch(views.requires_grad_(), own, numbers, own.repeat_interleave(2), numbers.repeat_interleave(2))
