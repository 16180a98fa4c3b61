"""Nearest patches by the cosine of their features, with faiss (https://github.com/facebookresearch/faiss).

The search is exact as long as that takes no hours. For more patches, these are sorted into cells by k-means and only the nearest cells
are searched (Jégou et al. 2011, doi:10.1109/TPAMI.2010.57); the recall of that search is measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wsc_ray.errors import DataError

EXACT = 10**11  # most comparisons of an exact search: half an hour on two cores (benchmarks/duplicates.md)
_PROBES = 32  # number of cells that are searched
_TRAINING = 64  # number of patches per cell on which k-means is trained
_SAMPLE = 200  # number of queries with which recall is measured
RECALL_AT = 10


class PatchIndex:
    """Finds the nearest of n patches.

    Args:
        vectors: (n, D) float32, of length 1; the index keeps them.
        queries: the number of queries to expect; it determines whether the search is exact.

    Attributes:
        exact: whether a query is compared with every patch.
        recall: share of the true 10 nearest patches that the search finds, measured on a sample; 1 if the search is exact.

    Raises:
        DataError: faiss is missing.
    """

    def __init__(self, vectors: np.ndarray, queries: int):
        self._faiss = _faiss()
        self._vectors = vectors
        self.exact = len(vectors) * queries <= EXACT
        self._index = self._flat() if self.exact else self._cells()
        self.recall = 1.0 if self.exact else self._measure_recall()

    def search(self, queries: np.ndarray, k: int, *, without: range | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` nearest patches of each query, the nearest first.

        Args:
            queries: (q, D) float32, of length 1.
            without: rows that are left out, such as those of the query's own slide.

        Returns:
            The cosines (q, k) float32 and rows (q, k) int64; if there are fewer patches, the last rows are -1.
        """
        return self._search(self._index, queries, k, without)

    def _search(self, index: Any, queries: np.ndarray, k: int, without: range | None) -> tuple[np.ndarray, np.ndarray]:
        options = {}
        if without is not None and len(without):
            options["sel"] = self._faiss.IDSelectorNot(self._faiss.IDSelectorRange(without.start, without.stop))
        if not isinstance(index, self._faiss.IndexFlat):
            parameters = self._faiss.SearchParametersIVF(nprobe=_PROBES, **options)
        else:
            parameters = self._faiss.SearchParameters(**options) if options else None
        return index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)

    def _flat(self) -> Any:
        index = self._faiss.IndexFlatIP(self._vectors.shape[1])
        index.add(self._vectors)
        return index

    def _cells(self) -> Any:
        width = self._vectors.shape[1]
        count = max(1, int(4 * math.sqrt(len(self._vectors))))
        cells = self._faiss.IndexFlatIP(width)
        index = self._faiss.IndexIVFFlat(cells, width, count, self._faiss.METRIC_INNER_PRODUCT)
        step = max(1, len(self._vectors) // (_TRAINING * count))
        index.train(np.ascontiguousarray(self._vectors[::step]))
        index.add(self._vectors)
        return index

    def _measure_recall(self) -> float:
        rows = np.linspace(0, len(self._vectors) - 1, _SAMPLE).astype(int)
        queries = self._vectors[rows]
        _, nearest = self.search(queries, RECALL_AT)
        return recall(nearest, queries, self._vectors)


def recall(found: np.ndarray, queries: np.ndarray, vectors: np.ndarray) -> float:
    """Return the share of the true nearest vectors that a search has found.

    Args:
        found: (q, k) rows of `vectors`.
        queries: (q, D) float32, of length 1.
        vectors: (n, D) float32, of length 1.
    """
    faiss = _faiss()
    _, true = faiss.knn(queries, vectors, found.shape[1], metric=faiss.METRIC_INNER_PRODUCT)
    return float(np.mean([len(np.intersect1d(a, b)) / found.shape[1] for a, b in zip(found, true, strict=True)]))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise DataError(
            "nearest patches are searched with faiss, which is not installed; pip install 'wsc-ray[cpu]' or 'wsc-ray[gpu]'"
        ) from None
    return faiss
