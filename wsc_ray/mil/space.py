"""The settings that a search tries: a pure function of the recipe, the seed, and the ranges that a head's fields declare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

from wsc_ray import random
from wsc_ray.recipe.sections import Tune

if TYPE_CHECKING:
    from wsc_ray.mil.head import Settings

T = TypeVar("T")
DRAW, WITHIN = "draw", "within"  # in the metadata of a field that a search draws


def searched(draw: Callable[[Any, float], Any], within: Sequence[Any] | None = None) -> Any:
    """A field of a head's settings that a search draws.

    Args:
        draw: `log_uniform`, `uniform` or `choice`.
        within: its range or its values; None: those that the recipe's `tune` has under the field's name.
    """
    return field(metadata={DRAW: draw, WITHIN: within})


def settings(tune: Tune, seed: int) -> list[Settings]:
    """The settings of every trial, `tune.trials` of them, heads in turn.

    Trial i depends on the seed, i, the heads and the ranges alone: a search cut short goes on with the very settings it had, on
    any machine.

    Raises:
        KeyError: a head of `tune.heads` that is not known.
    """
    from wsc_ray.mil.head import HEADS

    kinds = [HEADS[name] for name in tune.heads]
    chosen = [kinds[trial % len(kinds)] for trial in range(tune.trials)]
    return [kind.draw(tune, random.uniform(kind.draws(), seed, trial)) for trial, kind in enumerate(chosen)]


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
