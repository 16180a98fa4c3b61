"""Sums over all pairs of views: by fused kernels where a GPU has them, else a tile at a time."""

from __future__ import annotations

import importlib.util

from torch import Tensor

from wsc_ray.losses import tiles

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def log_sum_exp(everyone: Tensor, mine: slice, temperature: float, tile: int | None) -> Tensor:
    """log sum over j != i of exp(z_i . z_j / t) of own rows, (n,), from all rows (m, d), m >= 2.

    Args:
        tile: edge of the largest matrix kept; a number asks for tiles, None for whatever is fastest on the device.
    """
    if _fused(everyone, tile):
        from wsc_ray.losses import fused

        return fused.log_sum_exp(everyone, mine, temperature)
    return tiles.log_sum_exp(everyone, mine, temperature, tile)


def log_sum_exp_grad(
    everyone: Tensor, mine: slice, lse: Tensor, weight: Tensor, temperature: float, tile: int | None
) -> Tensor:
    """The gradient of sum_i g_i l_i over *all* rows i with respect to own rows, (n, d).

    `lse` (m,) and `weight` (m,) are l and g of all rows; `tile` as in `log_sum_exp`.
    """
    if _fused(everyone, tile):
        from wsc_ray.losses import fused

        return fused.log_sum_exp_grad(everyone, mine, lse, weight, temperature)
    return tiles.log_sum_exp_grad(everyone, mine, lse, weight, temperature, tile)


def _fused(everyone: Tensor, tile: int | None) -> bool:
    if tile is not None or everyone.device.type != "cuda" or not _HAS_TRITON:
        return False
    from wsc_ray.losses import fused

    return fused.takes(everyone)
