"""The similarity loss, which pulls the views of truly negative patches together, in linear time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsc_ray.distributed import Group, all_gather_rows, all_reduce_sum, share_counts
from wsc_ray.losses.inputs import flatten_views, in_full, no_autocast, require_positive


def similarity_loss(
    z: Tensor, *, labels: Tensor | None = None, base_temperature: float = 0.07, group: Group = None
) -> Tensor:
    """Return the similarity half of WeakSupCon (arXiv 2602.09477) of the global batch.

        (1 - mean over i != j of z_i . z_j) / t0  =  (1 - (|sum z|^2 - sum |z_i|^2) / (N (N - 1))) / t0

    With `labels`, pairs count only within one label, and the value is the mean of the losses of the labels, weighted by
    their numbers of views. The published code also subtracts each row's detached maximum, which shifts the printed value
    by a constant and does not change the gradient.

    Workers send one count, then one all-reduce of d + 1 numbers per label: sum z and sum |z_i|^2. The second makes the
    value exact for half precision, too, whose rows do not have length 1 exactly. With `labels`, workers also send these,
    since they need not hold the same ones. Backward sends nothing.

    Args:
        z: this worker's views, (N, d) or (n, v, d), L2-normalised; N or n may be 0 and differ between workers.
        labels: whole numbers, one per row or patch of `z`, (N,) or (n,); None puts all views under one label.
        base_temperature: t0.
        group: the workers that share the batch; None means the default group, or this process alone if there is none.

    Returns:
        A float32 scalar (float64 for float64 features), the same on every worker; a label with fewer than two views
        has loss 0. With W workers its gradient is W times that of one process with all rows, since DDP averages.

    Raises:
        ValueError: shapes or dtypes are wrong, or the base temperature is not above 0.
    """
    require_positive(base_temperature=base_temperature)
    z, labels = flatten_views(z, labels)
    (shards,) = share_counts(torch.tensor([len(z)], device=z.device), group)
    if labels is None or shards.total == 0:
        index, counts = None, torch.tensor([shards.total], device=z.device)
    else:
        _, index, counts = all_gather_rows(labels, shards).unique(return_inverse=True, return_counts=True)
        index = index[shards.mine]
    return similarity_of_classes(z, index, counts, base_temperature, group)


def similarity_of_classes(
    z: Tensor, index: Tensor | None, counts: Tensor, base_temperature: float, group: Group
) -> Tensor:
    """Return `similarity_loss` of rows (N, d) under labels `index` (N,) in [0, L), given the global `counts` (L,)."""
    with no_autocast(z):
        sums = all_reduce_sum(class_sums(in_full(z), index, len(counts)), group)  # (L, d + 1)
        counts = counts.to(sums.dtype)
        cosine = pair_sums(sums) / (counts * (counts - 1)).clamp(min=1)
        # number of views times loss, for each label; fewer than two views form no pair and have no loss
        weighted = torch.where(counts > 1, counts * (1 - cosine), 0)
        return weighted.sum() / (counts.sum().clamp(min=1) * base_temperature)


def class_sums(z: Tensor, index: Tensor | None, classes: int) -> Tensor:
    """Return sum z and sum |z|^2 of each class, (L, d + 1), for rows (N, d) of class `index` (N,); None is one class."""
    return _ClassSums.apply(z, index, classes)


def pair_sums(sums: Tensor) -> Tensor:
    """Return the sum over i != j of z_i . z_j in each class, (L,), from `class_sums`: |sum z|^2 - sum |z_i|^2."""
    return sums[:, :-1].square().sum(1) - sums[:, -1]


class _ClassSums(torch.autograd.Function):
    """Class sums with a backward that is a single pass over z: dS[class] + 2 dQ[class] z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, index: Tensor | None, classes: int) -> Tensor:
        ctx.save_for_backward(z, index)
        if index is None:
            return torch.cat((z.sum(0), torch.linalg.vector_norm(z).square().unsqueeze(0))).unsqueeze(0)
        rows = torch.cat((z, z.square().sum(1, keepdim=True)), 1)
        return rows.new_zeros(classes, rows.shape[1]).index_add_(0, index, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        z, index = ctx.saved_tensors
        grad = grad if index is None else grad[index]  # (1 or N, d + 1)
        return torch.addcmul(grad[:, :-1], grad[:, -1:], z, value=2), None, None
