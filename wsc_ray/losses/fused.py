"""Log-sum-exps over all pairs of views and their gradient as Triton kernels: no tile ever lies in a GPU's memory.

What `tiles` computes, by the same formulas; see there for the symbols. A program takes some own rows and walks over all
columns with a running maximum, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135). Products are of three tf32
parts each, which is as good as float32. Nothing here waits for the device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_WIDTHS = (
    16,
    32,
    64,
    128,
)  # of features; wider rows do not fit into a multiprocessor's shared memory beside the columns
_ROWS, _COLUMNS = 64, 64
_LOG2_E = 1.4426950408889634


def takes(everyone: Tensor) -> bool:
    """Whether the kernels can work on rows (m, d)."""
    return everyone.dtype == torch.float32 and everyone.shape[1] in _WIDTHS and everyone.is_contiguous()


def log_sum_exp(everyone: Tensor, mine: slice, temperature: float) -> Tensor:
    """l_i of own rows, (n,), from all rows (m, d), m >= 2."""
    own = mine.stop - mine.start
    result = everyone.new_empty(own)
    if own == 0:  # a worker without patches of the class
        return result
    _forward[(triton.cdiv(own, _ROWS),)](
        everyone, result, mine.start, own, len(everyone), _LOG2_E / temperature, everyone.shape[1], _ROWS, _COLUMNS
    )
    return result


def log_sum_exp_grad(everyone: Tensor, mine: slice, lse: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """The gradient of sum_i g_i l_i over *all* rows i with respect to own rows, (n, d).

    `lse` (m,) and `weight` (m,) are l and g of all rows.
    """
    own = mine.stop - mine.start
    grad = everyone.new_empty(own, everyone.shape[1])
    if own == 0:
        return grad
    _backward[(triton.cdiv(own, _ROWS),)](
        everyone,
        lse.contiguous(),
        weight.contiguous(),
        grad,
        mine.start,
        own,
        len(everyone),
        1 / temperature,
        everyone.shape[1],
        _ROWS,
        _COLUMNS,
    )
    return grad


@triton.jit
def _forward(z, out, start, own, total, scale, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    mine = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    rows = start + mine
    width = tl.arange(0, D)
    left = tl.load(z + rows[:, None] * D + width[None, :], mask=(mine < own)[:, None], other=0.0)
    top = tl.full((ROWS,), -1e30, tl.float32)
    sums = tl.zeros((ROWS,), tl.float32)
    for first in range(0, total, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        right = tl.load(z + columns[:, None] * D + width[None, :], mask=(columns < total)[:, None], other=0.0)
        s = tl.dot(left, tl.trans(right), input_precision="tf32x3") * scale  # in powers of two
        s = tl.where((columns < total)[None, :] & (columns[None, :] != rows[:, None]), s, -1e30)
        higher = tl.maximum(top, tl.max(s, axis=1))
        sums = sums * tl.exp2(top - higher) + tl.sum(tl.exp2(s - higher[:, None]), axis=1)
        top = higher
    tl.store(out + mine, (top + tl.log2(sums)) * 0.6931471805599453, mask=mine < own)


@triton.jit
def _backward(
    z, lse, weight, out, start, own, total, scale, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    mine = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    rows = start + mine
    width = tl.arange(0, D)
    left = tl.load(z + rows[:, None] * D + width[None, :], mask=(mine < own)[:, None], other=0.0)
    own_lse = tl.load(lse + rows, mask=mine < own, other=0.0)
    own_weight = tl.load(weight + rows, mask=mine < own, other=0.0)
    grad = tl.zeros((ROWS, D), tl.float32)
    for first in range(0, total, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        right = tl.load(z + columns[:, None] * D + width[None, :], mask=(columns < total)[:, None], other=0.0)
        their_lse = tl.load(lse + columns, mask=columns < total, other=0.0)
        their_weight = tl.load(weight + columns, mask=columns < total, other=0.0)
        s = tl.dot(left, tl.trans(right), input_precision="tf32x3") * scale
        share = own_weight[:, None] * tl.exp(s - own_lse[:, None]) + their_weight[None, :] * tl.exp(
            s - their_lse[None, :]
        )
        keep = (mine < own)[:, None] & (columns < total)[None, :] & (columns[None, :] != rows[:, None])
        grad += tl.dot(tl.where(keep, share, 0.0), right, input_precision="tf32x3")
    tl.store(out + mine[:, None] * D + width[None, :], grad * scale, mask=(mine < own)[:, None])
