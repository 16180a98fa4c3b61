"""Random numbers that are a pure function of a key, on every platform and with every version of numpy.

They use only the raw 64-bit stream of Philox, which numpy guarantees across versions and platforms; it gives no such
guarantee for the methods of `Generator`.
"""

from __future__ import annotations

import numpy as np


def raw(count: int, *key: int) -> np.ndarray:
    """Return `count` random uint64, which depend on the integers of `key` only."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def permutation(count: int, *key: int) -> np.ndarray:
    """Return a random permutation of range(count), (count,) int64."""
    return np.argsort(raw(count, *key), kind="stable")


def uniform(count: int, *key: int) -> np.ndarray:
    """Return `count` random float64 in [0, 1)."""
    return (raw(count, *key) >> np.uint64(11)) * 2.0**-53
