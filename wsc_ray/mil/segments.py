"""Sums, softmax, maxima and ranks within segments of packed rows; heads use them instead of loops over bags.

A segment is a bag or a part of one. `segment` (n,) int64 is the index of each row's segment, and `segments` their number; a segment
may have no rows.
"""

from __future__ import annotations

import torch


def bag_of_rows(offsets: torch.Tensor) -> torch.Tensor:
    """Return the index of each row's bag, (n,) int64."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff())


def segment_sum(values: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Return the sum of `values` (n, ...) over each segment, (segments, ...)."""
    return values.new_zeros(segments, *values.shape[1:]).index_add(0, segment, values)


def segment_softmax(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Return the softmax of `scores` (n, ...) over the rows of each segment."""
    # The maximum keeps exp in range and cancels in the quotient, so that it needs no gradient.
    top = _segment_max(scores.detach(), segment, segments)
    exp = torch.exp(scores - top[segment])
    return exp / segment_sum(exp, segment, segments)[segment]


def segment_argmax(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Return the row of the highest score in each segment and column, (segments, k) int64, from `scores` (n, k).

    Of equal scores it is the first. For a segment without rows it is n, one past the last row: see `rows_or_zeros`.
    """
    n = len(scores)
    highest = scores == _segment_max(scores.detach(), segment, segments)[segment]
    row = torch.arange(n, device=scores.device)[:, None].expand_as(scores)
    index = segment[:, None].expand_as(scores)
    first = torch.full((segments, scores.shape[1]), n, device=scores.device)
    return first.scatter_reduce(0, index, torch.where(highest, row, n), "amin")


def rows_or_zeros(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return the given rows of `values` (n, D), as (..., D); row n, one past the last, is zeros."""
    return torch.cat([values, values.new_zeros(1, values.shape[1])])[rows]


def segment_rank(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Return the rank of each row in its segment, (n,) int64: 0 for the highest of `scores` (n,).

    Equal scores keep the order of their rows.
    """
    order = torch.argsort(scores.detach(), descending=True, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]  # sorted by segment, and within it from the highest score
    sizes = torch.bincount(segment, minlength=segments)
    starts = sizes.cumsum(0) - sizes
    place = torch.arange(len(scores), device=scores.device) - starts[segment[order]]
    return torch.empty_like(order).index_copy(0, order, place)


def of_predicted(weights: torch.Tensor, logits: torch.Tensor, bag: torch.Tensor) -> torch.Tensor:
    """Return each row's attention (n,), from one for each class (n, C): that of the class with its bag's highest logit (`logits`: (b, C))."""
    return weights.gather(1, logits.argmax(1)[bag][:, None]).squeeze(1)


def _segment_max(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Return the highest of `scores` (n, ...) in each segment, (segments, ...); 0 for a segment without rows."""
    index = segment.reshape(-1, *[1] * (scores.dim() - 1)).expand_as(scores)
    return scores.new_zeros(segments, *scores.shape[1:]).scatter_reduce(0, index, scores, "amax", include_self=False)
