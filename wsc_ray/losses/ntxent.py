"""NT-Xent, the SimCLR loss, over all views of all workers: the views of each patch are contrasted with all others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsc_ray.distributed import Group, Shards, all_gather_rows, share_counts
from wsc_ray.losses.inputs import in_full, no_autocast, require_positive, require_tile
from wsc_ray.losses.tiles import log_sum_exp, log_sum_exp_grad


def ntxent_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.1,
    base_temperature: float = 0.07,
    group: Group = None,
    tile: int | None = None,
) -> Tensor:
    """Return NT-Xent (Chen et al. 2020; the positive-slide half of WeakSupCon, arXiv 2602.09477) of the global batch.

    The loss is the mean over all 2n views of all workers of

        -(t/t0) * (s_ip/t - log sum over j != i of exp(s_ij/t)),    s = z z^T, p the other view of the same patch

    Memory is linear: own rows meet all columns in tiles (see `tiles`), in time O(n_own * n_global * d). Workers send one
    count, their features once in their own dtype, and one log-sum-exp per view; backward sends nothing.

    Args:
        z1: first views of this worker's patches, (n, d), L2-normalised; n may be 0 and differ between workers.
        z2: second views, (n, d).
        temperature: t.
        base_temperature: t0.
        group: the workers that share the batch; None means the default group, or this process alone if there is none.
        tile: edge of the largest matrix in memory, in views; None chooses a good one for the device.

    Returns:
        A float32 scalar (float64 for float64 features), the same on every worker, 0 if no worker has a patch. With W
        workers its gradient is W times that of one process with all patches, since DDP averages.

    Raises:
        ValueError: z1 and z2 are not floating point of one shape (n, d), a temperature is not above 0, or the tile is
            below 1.
    """
    require_positive(temperature=temperature, base_temperature=base_temperature)
    require_tile(tile)
    if z1.ndim != 2 or z1.shape != z2.shape or z1.dtype != z2.dtype or not z1.is_floating_point():
        raise ValueError(
            "z1 and z2 must be floating point of one shape (n, d) and dtype, "
            f"not {z1.dtype} {tuple(z1.shape)} and {z2.dtype} {tuple(z2.shape)}"
        )
    (shards,) = share_counts(torch.tensor([len(z1)], device=z1.device), group)
    return ntxent_of_views(torch.stack((z1, z2), 1), shards, temperature, base_temperature, tile)


def ntxent_of_views(
    views: Tensor, shards: Shards, temperature: float, base_temperature: float, tile: int | None
) -> Tensor:
    """Return `ntxent_loss` of views (n, 2, d), given the number of patches of every worker."""
    with no_autocast(views):
        everyone = in_full(all_gather_rows(views, shards))  # (patches, 2, d)
        if shards.total == 0:
            return everyone.sum()  # 0, and still part of the graph
        push = global_log_sum_exp(everyone.flatten(0, 1), shards.times(2), temperature, tile)  # (2 patches,)
        pull = (everyone[:, 0] * everyone[:, 1]).sum(1) / temperature  # (patches,)
        return (push.mean() - pull.mean()) * (temperature / base_temperature)


def global_log_sum_exp(everyone: Tensor, shards: Shards, temperature: float, tile: int | None) -> Tensor:
    """Return log sum over j != i of exp(z_i . z_j / t) for every view i of all workers, (m,), on every worker.

    `everyone` (m, d), m >= 2, comes from `all_gather_rows`, which keeps only the gradient of own rows, so that only this
    is computed here. Each worker sums for its own rows and shares the results.
    """
    return _GlobalLogSumExp.apply(everyone, shards, temperature, tile)


class _GlobalLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, everyone: Tensor, shards: Shards, temperature: float, tile: int | None) -> Tensor:
        lse = all_gather_rows(log_sum_exp(everyone, shards.mine, temperature, tile), shards)
        ctx.save_for_backward(everyone, lse)
        ctx.settings = shards.mine, temperature, tile
        return lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None, None, None]:
        everyone, lse = ctx.saved_tensors
        mine, temperature, tile = ctx.settings
        grad = torch.zeros_like(everyone)
        with no_autocast(everyone):  # backward may be called under autocast
            grad[mine] = log_sum_exp_grad(everyone, mine, lse, weight, temperature, tile)
        return grad, None, None, None
