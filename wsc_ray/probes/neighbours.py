"""The k nearest neighbours among other patients, by exact search with faiss."""

from __future__ import annotations

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.probes.samples import Samples


def neighbour_shares(train: Samples, query: Samples | None, k: int) -> np.ndarray:
    """Return the share of each class among each query's k nearest neighbours, by the cosine of centred features.

    Args:
        train: the samples among which neighbours are searched; their mean is subtracted from all features.
        query: samples of other patients; None to query `train` itself, each sample without the samples of its patient.
        k: the number of neighbours; fewer if there are not as many samples of other patients.

    Returns:
        (n, C) float64, for the queries.

    Raises:
        DataError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise DataError("neighbours are searched with faiss; install it: pip install 'wsc-ray[probe]'") from None
    order = np.argsort(train.patients, kind="stable")  # a patient's samples are one range
    _, starts, counts = np.unique(train.patients[order], return_index=True, return_counts=True)
    mean = train.features.mean(axis=0, dtype=np.float64)
    index = faiss.IndexFlatIP(train.features.shape[1])
    index.add(_directions(train.features[order], mean))
    labels, classes = train.labels[order], len(train.classes)
    if query is not None:
        _, nearest = index.search(_directions(query.features, mean), min(k, len(train)))
        return _shares(labels[nearest], classes)
    k = min(k, len(train) - int(counts.max()))
    shares = np.empty((len(train), classes))
    for start, count in zip(starts, counts, strict=True):
        rows = order[start : start + count]
        others = faiss.IDSelectorNot(faiss.IDSelectorRange(int(start), int(start + count)))
        queries = _directions(train.features[rows], mean)
        selected = faiss.SearchParameters(sel=others)  # type: ignore[call-arg]  # faiss's types lack the arguments of its Python wrapper
        _, nearest = index.search(queries, k, params=selected)
        shares[rows] = _shares(labels[nearest], classes)
    return shares


def _shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the shares (n, C) of the classes in each row of labels (n, k)."""
    return np.stack([(labels == c).mean(axis=1) for c in range(classes)], axis=1)


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the centred features at length 1, float32; features equal to the mean become 0."""
    centred = features - mean
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0).astype(np.float32)
