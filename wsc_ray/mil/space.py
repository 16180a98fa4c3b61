"""The settings that a search tries: a pure function of the recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from wsc_ray.random import uniform
from wsc_ray.recipe.sections import Tune

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One trial's settings; see `recipe.Tune`."""

    lr: float
    weight_decay: float
    dropout: float
    hidden: int
    attention: int
    gated: bool


def settings(tune: Tune, seed: int) -> list[Setting]:
    """The settings of every trial, `tune.trials` of them.

    lr and weight decay are log-uniform, dropout is uniform, the others are chosen from their lists. Trial i depends on
    the seed, i and the ranges alone: a search cut short goes on with the very settings it had, on any machine.
    """
    return [_setting(tune, uniform(6, seed, trial)) for trial in range(tune.trials)]


def _setting(tune: Tune, u: np.ndarray) -> Setting:
    """`u`: six numbers in [0, 1)."""
    return Setting(
        lr=_log_uniform(*tune.lr, u[0]),
        weight_decay=_log_uniform(*tune.weight_decay, u[1]),
        dropout=float(tune.dropout[0] + (tune.dropout[1] - tune.dropout[0]) * u[2]),
        hidden=_choice(tune.hidden, u[3]),
        attention=_choice(tune.attention, u[4]),
        gated=_choice(tune.gated, u[5]),
    )


def _log_uniform(low: float, high: float, u: float) -> float:
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * float(u))


def _choice(values: list[T], u: float) -> T:
    return values[int(float(u) * len(values))]
