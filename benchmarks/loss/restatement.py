"""The losses as formulas with full N x N matrices and masks: the straightforward form, with which ours are compared.

Written from the formulas in `wsc_ray.losses`; the layout (one matrix of all pairs, a mask of positives, a mask of the
diagonal, the row maximum taken off) is that of the published implementations of these losses. Every view must have a
positive. With several processes, each computes the whole matrix from gathered features, of which only its own carry a
gradient, and multiplies the loss by the number of processes, since DistributedDataParallel averages.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def similarity(z: Tensor, labels: Tensor, base_temperature: float) -> Tensor:
    """(1 - mean over i of the mean over p != i of the same label of z_i . z_p) / t0, for z (N, d), labels (N,)."""
    positives = same_label(labels)
    s = z @ z.T
    per_view = (positives * s).sum(1) / positives.sum(1)
    return (1 - per_view.mean()) / base_temperature


def contrast(z: Tensor, labels: Tensor, temperature: float, base_temperature: float) -> Tensor:
    """SupCon of z (N, d) under labels (N,); with a label a patch, NT-Xent."""
    positives = same_label(labels)
    others = 1 - torch.eye(len(z), dtype=z.dtype)
    s = z @ z.T / temperature
    s = s - s.max(1, keepdim=True).values.detach()
    log_probability = s - (s.exp() * others).sum(1, keepdim=True).log()
    per_view = (positives * log_probability).sum(1) / positives.sum(1)
    return -(temperature / base_temperature) * per_view.mean()


def weaksupcon(
    z: Tensor, labels: Tensor, patches: Tensor, temperature: float, base_temperature: float, pure: int = 0
) -> Tensor:
    """Similarity of the rows of label `pure`, contrast of the others by patch; labels and patches (N,)."""
    is_pure = labels == pure
    return similarity(z[is_pure], labels[is_pure], base_temperature) + contrast(
        z[~is_pure], patches[~is_pure], temperature, base_temperature
    )


def same_label(labels: Tensor) -> Tensor:
    """1 where two different rows share their label, 0 elsewhere, float32 (N, N)."""
    same = (labels[:, None] == labels[None, :]).float()
    return same.fill_diagonal_(0)


def gathered(x: Tensor) -> Tensor:
    """All processes' rows of x (n, ...), the same number each, in rank order; own rows keep their gradient."""
    if not dist.is_initialized():
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    parts[dist.get_rank()] = x
    return torch.cat(parts)
