"""How well attention finds the patches that give a mixed slide its label."""

from __future__ import annotations

import numpy as np

from wsc_ray.mil.auroc import auroc
from wsc_ray.mil.bags import Bags


def within_slides(attention: np.ndarray, bags: Bags) -> np.ndarray:
    """Return, for each slide, the AUROC of attention against its patch labels.

    This is the measure to report: attention sums to 1 within a slide, so that it compares patches of one slide, and says nothing
    about patches of different slides.

    Args:
        attention: (n,), as `predict` returns it.
        bags: bags with `patch_labels`; patches of unknown label are left out.

    Returns:
        (b,), NaN for slides whose patches have one label only, or unknown labels.
    """
    offsets, labels = bags.offsets.tolist(), _patch_labels(bags)
    values = np.full(len(bags), np.nan)
    for index in range(len(bags)):
        rows = slice(offsets[index], offsets[index + 1])
        labelled = labels[rows] >= 0
        values[index] = auroc(labels[rows][labelled] > 0, attention[rows][labelled])[0]
    return values


def pooled(attention: np.ndarray, bags: Bags) -> float:
    """Return the AUROC over all patches of all slides, including negative ones, of attention relative to an even share (1/N)."""
    labels = _patch_labels(bags)
    relative = attention * np.repeat(bags.lengths.numpy(), bags.lengths.numpy())
    labelled = labels >= 0
    return float(auroc(labels[labelled] > 0, relative[labelled])[0])


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of those `values` (n,) that are not NaN, under weights (s, n): (s,), NaN where no value has a weight."""
    defined = ~np.isnan(values)
    total = weights[:, defined].sum(axis=1)
    summed = weights[:, defined] @ values[defined]
    return np.divide(summed, total, out=np.full(len(weights), np.nan), where=total > 0)


def _patch_labels(bags: Bags) -> np.ndarray:
    """Return the patch labels, (n,) int8."""
    assert bags.patch_labels is not None  # the callers' condition
    return bags.patch_labels.numpy()
