"""k nearest neighbours among other patients, exactly, with faiss."""

from __future__ import annotations

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.probes.samples import Samples


def neighbour_shares(train: Samples, query: Samples | None, k: int) -> np.ndarray:
    """Of each sample the share of each class among its k nearest neighbours, by the cosine of centred features.

    Args:
        train: the neighbours; their mean is taken out of all features.
        query: samples of other patients; None: of `train` itself, each patient's samples left out for the patient.
        k: neighbours; fewer where there are not so many of others.

    Returns:
        (n, C) float64 of the queries.

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
        _, found = index.search(_directions(query.features, mean), min(k, len(train)))
        return _shares(labels[found], classes)
    k = min(k, len(train) - int(counts.max()))
    shares = np.empty((len(train), classes))
    for start, count in zip(starts, counts, strict=True):
        rows = order[start : start + count]
        others = faiss.IDSelectorNot(faiss.IDSelectorRange(int(start), int(start + count)))
        asked = _directions(train.features[rows], mean)
        selected = faiss.SearchParameters(sel=others)  # type: ignore[call-arg]  # its types lack what its wrapper takes
        _, found = index.search(asked, k, params=selected)
        shares[rows] = _shares(labels[found], classes)
    return shares


def _shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """Shares (n, C) of labels (n, k)."""
    return np.stack([(labels == c).mean(axis=1) for c in range(classes)], axis=1)


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Centred features of length 1, float32; those that are the mean stay 0."""
    centred = features - mean
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0).astype(np.float32)
