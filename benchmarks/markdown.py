"""Formatting figures that only comparisons have: spreads over rounds, and ratios."""

from __future__ import annotations

from wsc_ray.bench.markdown import digits, seconds, unit_of


def spread(median: float, low: float, high: float) -> str:
    """12.3 ms (12.1-13.0), all three in the unit that suits the median."""
    _, scale = unit_of(median)
    return f"{seconds(median)} ({digits(low * scale)}-{digits(high * scale)})"


def times(value: float) -> str:
    """A ratio: 12.3x."""
    return f"{digits(value)}x"
