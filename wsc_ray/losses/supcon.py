"""SupCon, the baseline that WeakSupCon improves on: all other views under the same slide label are positives."""

from __future__ import annotations

import torch
from torch import Tensor

from wsc_ray.distributed import Group, all_gather_rows, share_counts
from wsc_ray.losses.inputs import flatten_views, in_full, no_autocast, require_positive, require_tile
from wsc_ray.losses.ntxent import global_log_sum_exp
from wsc_ray.losses.similarity import class_sums, pair_sums


def supcon_loss(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    base_temperature: float = 0.07,
    group: Group = None,
    tile: int | None = None,
) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) of the global batch.

    The loss is the mean over all views i that have a positive of

        -(t/t0) * mean over p in P(i) of (s_ip/t - log sum over j != i of exp(s_ij/t)),    s = z z^T

    where P(i) are the other views of the same label. With one patch per label this is `ntxent_loss`. The positives of
    each label are summed in closed form: sum over i of mean over p of s_ip = (|sum z|^2 - sum |z_i|^2) / (N - 1), so
    that only the log-sum-exps need tiles. Workers send one count, their labels, their features once in their own dtype,
    and one log-sum-exp per view; backward sends nothing.

    Args:
        z: this worker's views, (n, v, d) with v views per patch, or (N, d), L2-normalised; n may be 0 and differ
            between workers.
        labels: slide labels, whole numbers, (n,) or (N,).
        temperature: t.
        base_temperature: t0.
        group: the workers that share the batch; None means the default group, or this process alone if there is none.
        tile: edge of the largest matrix in memory, in views; None chooses a good one for the device.

    Returns:
        A float32 scalar (float64 for float64 features), the same on every worker, 0 if no view has a positive. With W
        workers its gradient is W times that of one process with all views, since DDP averages.

    Raises:
        ValueError: shapes or dtypes are wrong, a temperature is not above 0, or the tile is below 1.
    """
    require_positive(temperature=temperature, base_temperature=base_temperature)
    require_tile(tile)
    z, labels = flatten_views(z, labels)
    (shards,) = share_counts(torch.tensor([len(z)], device=z.device), group)
    with no_autocast(z):
        everyone = in_full(all_gather_rows(z, shards))  # (N, d)
        if shards.total < 2:
            return 0 * everyone.sum()  # 0, since there is no pair, but still part of the graph
        _, index, counts = all_gather_rows(labels, shards).unique(return_inverse=True, return_counts=True)
        paired = counts > 1  # (L,)
        push = global_log_sum_exp(everyone, shards, temperature, tile)  # (N,)
        push = torch.where(paired[index], push, 0).sum()
        pull = pair_sums(class_sums(everyone, index, len(counts))) / (counts - 1).clamp(min=1)  # (L,)
        pull = torch.where(paired, pull, 0).sum() / temperature
        anchors = torch.where(paired, counts, 0).sum().clamp(min=1)
        return (push - pull) / anchors * (temperature / base_temperature)
