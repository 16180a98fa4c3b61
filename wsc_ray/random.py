"""Random numbers that are a pure function of a key, and stay so.

Only the raw 64-bit stream of Philox is used: numpy guarantees it across versions and platforms, which it does not for
the methods of `Generator`.
"""

from __future__ import annotations

import numpy as np


def raw(count: int, *key: int) -> np.ndarray:
    """`count` uint64 that depend on the integers of `key` alone."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def permutation(count: int, *key: int) -> np.ndarray:
    """A permutation of range(count), (count,) int64."""
    return np.argsort(raw(count, *key), kind="stable")


def uniform(count: int, *key: int) -> np.ndarray:
    """`count` float64 in [0, 1)."""
    return (raw(count, *key) >> np.uint64(11)) * 2.0**-53
