"""Comparing AUROCs of the same slides without resampling: DeLong's test, for slides that share patients.

DeLong, DeLong and Clarke-Pearson 1988 (doi:10.2307/2531595) assume independent slides; Obuchowski 1997 (doi:10.2307/2533958) allows
for dependence among the slides of a patient. If every patient has one slide, both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata


@dataclass(frozen=True, eq=False)
class Aurocs:
    """AUROCs (k,) of k scores for the same slides, and their covariance (k, k), which is NaN if a class has too few patients."""

    values: np.ndarray
    covariance: np.ndarray

    def p_value(self, one: int, other: int) -> float:
        """Return the two-sided p-value of no difference between two of the AUROCs; NaN if their covariance is NaN."""
        c = self.covariance
        difference = self.values[one] - self.values[other]
        variance = c[one, one] + c[other, other] - 2 * c[one, other]
        if difference == 0:
            return 1.0
        if not variance > 0:
            return float("nan")
        return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))


def delong(positive: np.ndarray, scores: np.ndarray, patients: Sequence[str]) -> Aurocs:
    """Return the AUROCs of several scores, with their covariance.

    Args:
        positive: (n,) bool.
        scores: (k, n).
        patients: patient of each slide, (n,).
    """
    above, below = scores[:, positive], scores[:, ~positive]
    k, positives, negatives = len(scores), above.shape[1], below.shape[1]
    if not positives or not negatives:
        return Aurocs(np.full(k, np.nan), np.full((k, k), np.nan))
    # By midranks (Sun and Xu 2014, doi:10.1109/LSP.2014.2337313): for each positive the share of negatives below it, and for each
    # negative the share of positives above it, with ties counted as one half.
    everyone = rankdata(np.hstack([above, below]), axis=1)
    of_positive = (everyone[:, :positives] - rankdata(above, axis=1)) / negatives
    of_negative = 1 - (everyone[:, positives:] - rankdata(below, axis=1)) / positives
    values = of_positive.mean(axis=1)
    _, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    a, patients_a = _summed(of_positive - values[:, None], index[positive], index.max() + 1)
    b, patients_b = _summed(of_negative - values[:, None], index[~positive], index.max() + 1)
    if min(patients_a, patients_b) < 2:
        return Aurocs(values, np.full((k, k), np.nan))
    count = a.shape[1]
    aa = patients_a / (patients_a - 1) * a @ a.T / positives**2
    bb = patients_b / (patients_b - 1) * b @ b.T / negatives**2
    ab = count / (count - 1) * a @ b.T / (positives * negatives)
    return Aurocs(values, aa + bb + ab + ab.T)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for all hypotheses of a family together (Holm 1979); a NaN stays, and counts as a hypothesis."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # NaN last
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted.tolist()


def _summed(components: np.ndarray, patient: np.ndarray, patients: int) -> tuple[np.ndarray, int]:
    """Return the sums of components (k, m) by patient, (k, patients), and the number of patients that have components."""
    sums = np.zeros((len(components), patients))
    for row, values in zip(sums, components, strict=True):
        np.add.at(row, patient, values)
    return sums, len(np.unique(patient))
