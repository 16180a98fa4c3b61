"""Declaring the fields of a head's settings that a search draws: the range or values, and the distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, TypeVar

T = TypeVar("T")
DRAW, WITHIN = "draw", "within"  # in the metadata of a field that a search draws


def searched(draw: Callable[[Any, float], Any], within: Sequence[Any] | None = None) -> Any:
    """Return a dataclass field that a search draws.

    Args:
        draw: `log_uniform`, `uniform` or `choice`.
        within: the range or the values; None to take them from the recipe's `tune` section, under the field's name.
    """
    return field(metadata={DRAW: draw, WITHIN: within})


def log_uniform(within: tuple[float, float], u: float) -> float:
    """Return a number within the range, whose logarithm is uniformly distributed, from `u` in [0, 1)."""
    low, high = within
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * float(u))


def uniform(within: tuple[float, float], u: float) -> float:
    """Return a uniformly distributed number within the range, from `u` in [0, 1)."""
    low, high = within
    return float(low + (high - low) * u)


def choice(values: Sequence[T], u: float) -> T:
    """Return one of the values, from `u` in [0, 1)."""
    return values[int(float(u) * len(values))]
