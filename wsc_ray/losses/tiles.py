"""Log-sum-exps over all pairs of views, and their gradient, computed one tile at a time on one device.

For the rows z_i that this worker owns, all rows z_j of the global batch, and temperature t:

    s_ij = z_i . z_j / t,    l_i = log sum over j != i of exp(s_ij)
    d(sum_i g_i l_i) / d z_i = (1/t) sum over j != i of (g_i exp(s_ij - l_i) + g_j exp(s_ij - l_j)) z_j

The second term of the gradient comes from row i in the sums of the *other* rows. As s is symmetric, it needs only their
l_j, one number per view, which every worker holds.

Symmetry also halves the work inside the square of own rows: a tile above the diagonal serves the rows and, transposed,
the columns. No matrix larger than tile x tile exists, and backward computes the tiles again instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

DEFAULT_TILE = {
    "cpu": 512,
    "cuda": 4096,
}  # two of these fit into a CPU's cache; a GPU is fastest with few, large kernels

_EXP_LIMIT = 60.0
"""|s| up to this limit needs no running maximum: exp(s), exp(-s) and sums of millions of them stay well inside float32."""


class Tile(NamedTuple):
    rows: slice  # into own rows
    columns: slice  # into all rows
    mirror: slice | None  # the columns as a slice into own rows, where the tile stands for its transpose, too
    diagonal: bool  # whether the tile holds pairs (i, i), which never count


def log_sum_exp(everyone: Tensor, mine: slice, temperature: float, tile: int | None) -> Tensor:
    """Return l_i of own rows, (n,), from all rows (m, d), m >= 2."""
    bounded = _bounded(everyone, temperature)
    own = everyone[mine]
    result = own.new_zeros(len(own)) if bounded else own.new_full((len(own),), -torch.inf)
    for at, s in _similarities(everyone, mine, temperature, tile):
        if bounded:
            s.exp_()
            result[at.rows] += s.sum(1)
            if at.mirror:
                result[at.mirror] += s.sum(0)
        else:
            result[at.rows] = result[at.rows].logaddexp(s.logsumexp(1))
            if at.mirror:
                result[at.mirror] = result[at.mirror].logaddexp(s.logsumexp(0))
    return result.log_() if bounded else result


def log_sum_exp_grad(
    everyone: Tensor, mine: slice, lse: Tensor, weight: Tensor, temperature: float, tile: int | None
) -> Tensor:
    """Return the gradient of sum_i g_i l_i over *all* rows i with respect to own rows, (n, d).

    `lse` (m,) and `weight` (m,) are l and g of all rows.
    """
    bounded = _bounded(everyone, temperature)
    scale = weight * (-lse).exp() if bounded else weight
    own = everyone[mine]
    grad = torch.zeros_like(own)
    spare = _workspace(everyone, tile)
    for at, s in _similarities(everyone, mine, temperature, tile):
        own_rows = slice(mine.start + at.rows.start, mine.start + at.rows.stop)
        down, across = scale[own_rows].unsqueeze(1), scale[at.columns]
        if bounded:  # one exponential serves both terms
            s.exp_().mul_(torch.add(down, across, out=spare[: s.numel()].view_as(s)))
        else:
            by_column = torch.sub(s, lse[at.columns], out=spare[: s.numel()].view_as(s)).exp_().mul_(across)
            s.sub_(lse[own_rows].unsqueeze(1)).exp_().mul_(down).add_(by_column)
        grad[at.rows].addmm_(s, everyone[at.columns])
        if at.mirror:
            grad[at.mirror].addmm_(s.T, own[at.rows])
    return grad.div_(temperature)


def _similarities(everyone: Tensor, mine: slice, temperature: float, tile: int | None) -> Iterator[tuple[Tile, Tensor]]:
    """Yield every tile with its s_ij, -inf on the diagonal; the next tile overwrites the tensor."""
    scaled = everyone[mine] / temperature
    space = _workspace(everyone, tile)  # allocated once: fresh memory for each tile costs more than its product
    for at in tiles(mine.start, mine.stop, len(everyone), _edge(everyone, tile)):
        rows, columns = scaled[at.rows], everyone[at.columns]
        s = space[: len(rows) * len(columns)].view(len(rows), len(columns))
        torch.mm(rows, columns.T, out=s)
        if at.diagonal:
            s.fill_diagonal_(-torch.inf)
        yield at, s


def tiles(start: int, stop: int, total: int, edge: int) -> Iterator[Tile]:
    """Yield tiles that cover own rows [start, stop) and all columns [0, total), each unordered pair of own rows once."""
    for top in range(start, stop, edge):
        rows = slice(top - start, min(top + edge, stop) - start)
        for left in range(top, stop, edge):
            right = min(left + edge, stop)
            mirror = slice(left - start, right - start) if left > top else None
            yield Tile(rows, slice(left, right), mirror, diagonal=left == top)
        for first, last in ((0, start), (stop, total)):
            for left in range(first, last, edge):
                yield Tile(rows, slice(left, min(left + edge, last)), None, diagonal=False)


def _edge(everyone: Tensor, tile: int | None) -> int:
    return tile or DEFAULT_TILE.get(everyone.device.type, 1024)


def _workspace(everyone: Tensor, tile: int | None) -> Tensor:
    return everyone.new_empty(min(_edge(everyone, tile), len(everyone)) ** 2)


def _bounded(everyone: Tensor, temperature: float) -> bool:
    """Return whether |s_ij| <= |z_i| |z_j| / t is small for all pairs (False for NaN, which the result then shows)."""
    return bool(torch.linalg.vector_norm(everyone, dim=1).amax().square() / temperature <= _EXP_LIMIT)
