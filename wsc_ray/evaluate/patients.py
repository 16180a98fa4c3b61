"""From slides to patients: one label and one prediction per patient.

A patient's probability is the mean over the slides. If a patient's slides differ in their labels, the patient has the most severe
label: of two classes the positive one, of more the one that `evaluate.order` lists last. With more than two classes and no order,
no label is known to be the most severe, and such patients are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Patients:
    """The p patients of n slides.

    Attributes:
        names: (p,), sorted.
        labels: (p,) class indices.
        left_out: patients without a label, because their slides' labels differ.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    left_out: tuple[str, ...]
    _slides: np.ndarray  # the slides of patients with a label, patient by patient, (k,)
    _starts: np.ndarray  # where each patient's slides begin in `_slides`, (p,)
    differing: int  # number of patients that have a label although their slides' labels differ

    def __len__(self) -> int:
        return len(self.names)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the means over each patient's slides, (p, C) or (s, p, C), of values (n, C) or (s, n, C)."""
        counts = np.diff(np.append(self._starts, len(self._slides)))
        return np.add.reduceat(values[..., self._slides, :], self._starts, axis=-2) / counts[:, None]

    def weights(self, slide_weights: np.ndarray) -> np.ndarray:
        """Return the patients' weights (s, p), from slides' weights (s, n) that are equal for all slides of a patient."""
        return slide_weights[:, self._slides[self._starts]]


def by_patient(
    patients: Sequence[str], labels: np.ndarray, classes: int, order: Sequence[int] | None = None
) -> Patients:
    """Group slides by patient.

    Args:
        patients: patient of each slide, (n,).
        labels: (n,) class indices.
        classes: C.
        order: the classes from the mildest to the most severe; None if they have no order.
    """
    severity = np.argsort(order) if order is not None else np.arange(classes)
    names, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    kept, chosen, left_out, groups, differing = [], [], [], [], 0
    for number, name in enumerate(names):
        slides = np.flatnonzero(index == number)
        present = np.unique(labels[slides])
        if len(present) > 1 and classes > 2 and order is None:
            left_out.append(str(name))
            continue
        differing += len(present) > 1
        kept.append(str(name))
        chosen.append(int(present[np.argmax(severity[present])]))
        groups.append(slides)
    counts = np.array([len(group) for group in groups], dtype=np.int64)
    return Patients(
        tuple(kept),
        np.array(chosen, dtype=np.int64),
        tuple(left_out),
        np.concatenate(groups) if groups else np.zeros(0, np.int64),
        np.cumsum(counts) - counts,
        differing,
    )
