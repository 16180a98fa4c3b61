"""Sums, softmax, maxima and ranks within the segments of packed rows: what heads are made of instead of loops over bags.

A segment is a bag, or a part of one. `segment` (n,) int64 says which of `segments` a row is of; a segment may have no rows.
"""

from __future__ import annotations

import torch


def bag_of_rows(offsets: torch.Tensor) -> torch.Tensor:
    """Which bag each row of packed bags is of, (n,) int64."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff())


def segment_sum(values: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Sum of `values` (n, ...) over each segment, (segments, ...)."""
    return values.new_zeros(segments, *values.shape[1:]).index_add(0, segment, values)


def segment_softmax(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Softmax of `scores` (n, ...) over the rows of each segment."""
    # The maximum only keeps exp in range; it cancels, so no gradient goes through it.
    top = _segment_max(scores.detach(), segment, segments)
    exp = torch.exp(scores - top[segment])
    return exp / segment_sum(exp, segment, segments)[segment]


def segment_argmax(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """The row of the highest score in each segment and column, (segments, k) int64, from `scores` (n, k).

    Of equals it is the first. For a segment without rows it is n, one past the last: see `rows_or_zeros`.
    """
    n = len(scores)
    highest = scores == _segment_max(scores.detach(), segment, segments)[segment]
    row = torch.arange(n, device=scores.device)[:, None].expand_as(scores)
    index = segment[:, None].expand_as(scores)
    first = torch.full((segments, scores.shape[1]), n, device=scores.device)
    return first.scatter_reduce(0, index, torch.where(highest, row, n), "amin")


def rows_or_zeros(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Those rows of `values` (n, D), (..., D); row n, one past the last, is zeros."""
    return torch.cat([values, values.new_zeros(1, values.shape[1])])[rows]


def segment_rank(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """The place of each row in its segment, (n,) int64: 0 for the highest of `scores` (n,), and of equals for the first."""
    order = torch.argsort(scores.detach(), descending=True, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]  # by segment, and within it from the highest
    sizes = torch.bincount(segment, minlength=segments)
    starts = sizes.cumsum(0) - sizes
    place = torch.arange(len(scores), device=scores.device) - starts[segment[order]]
    return torch.empty_like(order).index_copy(0, order, place)


def of_predicted(weights: torch.Tensor, logits: torch.Tensor, bag: torch.Tensor) -> torch.Tensor:
    """Of an attention for each class, (n, C), that of the class with the highest of its bag's `logits` (b, C): (n,)."""
    return weights.gather(1, logits.argmax(1)[bag][:, None]).squeeze(1)


def _segment_max(scores: torch.Tensor, segment: torch.Tensor, segments: int) -> torch.Tensor:
    """Highest of `scores` (n, ...) in each segment, (segments, ...); 0 for a segment without rows."""
    index = segment.reshape(-1, *[1] * (scores.dim() - 1)).expand_as(scores)
    return scores.new_zeros(segments, *scores.shape[1:]).scatter_reduce(0, index, scores, "amax", include_self=False)
