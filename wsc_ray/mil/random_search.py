"""The settings of a random search: a pure function of the recipe, the seed, and the ranges that the heads declare."""

from __future__ import annotations

from wsc_ray import random
from wsc_ray.mil.head import HEADS, Settings
from wsc_ray.recipe.sections import Tune


def random_settings(tune: Tune, seed: int) -> list[Settings]:
    """Return the settings of all `tune.trials` trials, with the heads in turn.

    Trial i depends only on the seed, i, the heads and the ranges: an interrupted search goes on with the same settings, on any
    machine.

    Raises:
        KeyError: a head of `tune.heads` is not registered.
    """
    kinds = [HEADS[name] for name in tune.heads]
    chosen = [kinds[trial % len(kinds)] for trial in range(tune.trials)]
    return [kind.draw(tune, random.uniform(kind.draws(), seed, trial)) for trial, kind in enumerate(chosen)]
