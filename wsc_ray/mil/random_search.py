"""The settings that a random search tries: a pure function of the recipe, the seed, and the ranges that heads' fields declare."""

from __future__ import annotations

from wsc_ray import random
from wsc_ray.mil.head import HEADS, Settings
from wsc_ray.recipe.sections import Tune


def random_settings(tune: Tune, seed: int) -> list[Settings]:
    """The settings of every trial, `tune.trials` of them, heads in turn.

    Trial i depends on the seed, i, the heads and the ranges alone: a search cut short goes on with the very settings it had, on
    any machine.

    Raises:
        KeyError: a head of `tune.heads` that is not known.
    """
    kinds = [HEADS[name] for name in tune.heads]
    chosen = [kinds[trial % len(kinds)] for trial in range(tune.trials)]
    return [kind.draw(tune, random.uniform(kind.draws(), seed, trial)) for trial, kind in enumerate(chosen)]
