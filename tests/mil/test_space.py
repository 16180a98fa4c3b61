import numpy as np

from wsc_ray.mil.random_search import random_settings
from wsc_ray.recipe.sections import Tune

WIDE = Tune(
    trials=400, lr=(1e-5, 1e-1), weight_decay=(1e-6, 1e-6), dropout=(0.1, 0.4), hidden=[8, 16, 32], gated=[True]
)


def test_settings_lie_in_the_ranges_of_the_recipe() -> None:
    found = random_settings(WIDE, seed=0)
    exponents = np.log10([s.lr for s in found])
    assert len(found) == 400
    assert exponents.min() > -5
    assert exponents.max() < -1
    assert np.abs(np.histogram(exponents, bins=4, range=(-5, -1))[0] - 100).max() < 35  # log-uniform
    assert all(np.isclose(s.weight_decay, 1e-6) for s in found)
    assert all(0.1 <= s.dropout <= 0.4 for s in found)
    assert {s.hidden for s in found} == {8, 16, 32}
    assert {s.gated for s in found} == {True}


def test_a_longer_search_begins_as_a_shorter_one_and_seeds_differ() -> None:
    assert random_settings(WIDE.model_copy(update={"trials": 5}), seed=1) == random_settings(WIDE, seed=1)[:5]
    assert random_settings(WIDE, seed=1)[0] != random_settings(WIDE, seed=2)[0]
