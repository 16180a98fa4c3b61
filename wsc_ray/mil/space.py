"""How a head's fields say what a search draws: from which range or values, and in which way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, TypeVar

T = TypeVar("T")
DRAW, WITHIN = "draw", "within"  # in the metadata of a field that a search draws


def searched(draw: Callable[[Any, float], Any], within: Sequence[Any] | None = None) -> Any:
    """A field of a head's settings that a search draws.

    Args:
        draw: `log_uniform`, `uniform` or `choice`.
        within: its range or its values; None: those that the recipe's `tune` has under the field's name.
    """
    return field(metadata={DRAW: draw, WITHIN: within})


def log_uniform(within: tuple[float, float], u: float) -> float:
    """A number between the two whose logarithm is uniform, from `u` in [0, 1)."""
    low, high = within
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * float(u))


def uniform(within: tuple[float, float], u: float) -> float:
    """A number between the two, from `u` in [0, 1)."""
    low, high = within
    return float(low + (high - low) * u)


def choice(values: Sequence[T], u: float) -> T:
    """One of the values, from `u` in [0, 1)."""
    return values[int(float(u) * len(values))]
