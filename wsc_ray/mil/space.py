"""The settings that a search tries: a pure function of the recipe and the seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from wsc_ray import random
from wsc_ray.recipe.sections import Tune

if TYPE_CHECKING:
    from wsc_ray.mil.head import Settings

T = TypeVar("T")


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
    return [kind.draw(tune, random.uniform(kind.draws, seed, trial)) for trial, kind in enumerate(chosen)]


def log_uniform(low: float, high: float, u: float) -> float:
    """A number from `low` to `high` whose logarithm is uniform, from `u` in [0, 1)."""
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * float(u))


def uniform(low: float, high: float, u: float) -> float:
    """A number from `low` to `high`, from `u` in [0, 1)."""
    return float(low + (high - low) * u)


def choice(values: list[T], u: float) -> T:
    """One of the values, from `u` in [0, 1)."""
    return values[int(float(u) * len(values))]
