"""Time, memory and recall of the search among many patches, which need not be more than a cohort holds: features are multiplied.

Each made-up patch is a real one's features, turned from D to `WIDTH` dimensions by one random matrix (which keeps cosines, Johnson and
Lindenstrauss 1984), plus noise of `NOISE` times their length.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.memory import give_back_freed, peak_of
from wsc_ray.neighbours.index import RECALL_AT, PatchIndex, recall

WIDTH = 512  # dimensions: ResNet-18's
NOISE = 0.3
QUERIES = 10_000  # number of searches that are timed


@dataclass(frozen=True)
class Cost:
    """What an index of `patches` patches costs.

    Attributes:
        exact: whether each query is compared with every patch.
        index_seconds: time to make the index and to measure its recall, as a search does.
        search_seconds: time of `queries` searches.
        vectors_bytes, index_bytes: memory of the features, and at the peak of making the index beside them.
        recall: share of the true nearest 10 that are found, see `PatchIndex`.
        again: the same, measured here against the exact search of `queries` queries.
    """

    patches: int
    queries: int
    exact: bool
    index_seconds: float
    search_seconds: float
    vectors_bytes: int
    index_bytes: int
    recall: float
    again: float


def multiplied(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` made-up unit vectors, (count, WIDTH) float32.

    Args:
        vectors: (n, D) float32 of length 1.
    """
    rng = np.random.default_rng(seed)
    turned = vectors @ rng.normal(size=(vectors.shape[1], WIDTH)).astype(np.float32)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    made = np.empty((count, WIDTH), np.float32)
    for start in range(0, count, 1 << 14):
        rows = made[start : start + (1 << 14)]
        rng.standard_normal(dtype=np.float32, out=rows)
        rows *= NOISE / np.sqrt(WIDTH)
        rows += turned[rng.integers(len(turned), size=len(rows))]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def measure(vectors: np.ndarray, queries: int, seed: int) -> Cost:
    """Make the index that a search of every patch gets, and search some of them.

    Args:
        vectors: (n, WIDTH) float32 of length 1.
        queries: number of searches to time.
    """
    give_back_freed()
    made: list[PatchIndex] = []
    seconds: list[float] = []

    def make() -> None:
        started = time.perf_counter()
        made.append(PatchIndex(vectors, len(vectors)))
        seconds.append(time.perf_counter() - started)

    peak = peak_of(make)
    index = made[0]
    rows = np.random.default_rng(seed).choice(len(vectors), min(queries, len(vectors)), replace=False)
    started = time.perf_counter()
    _, found = index.search(vectors[rows], RECALL_AT)
    searched = time.perf_counter() - started
    return Cost(
        patches=len(vectors),
        queries=len(rows),
        exact=index.exact,
        index_seconds=seconds[0],
        search_seconds=searched,
        vectors_bytes=vectors.nbytes,
        index_bytes=peak.extra,
        recall=index.recall,
        again=recall(found[:1000], vectors[rows[:1000]], vectors),
    )
