"""The samples of probes: slides, by the mean of their patches' features, or patches whose label is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.mil.bags import Bags
from wsc_ray.random import permutation

PATCH_CLASSES = ("0", "1")


@dataclass(frozen=True, eq=False)
class Samples:
    """n samples with labels.

    Attributes:
        features: (n, D) float32.
        labels: (n,) class indices.
        classes: (C,), the names of the classes.
        slides, patients: (n,), slide and patient of each sample.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    slides: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: np.ndarray) -> Samples:
        """Return the samples that indices or a mask select."""
        return replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            slides=self.slides[chosen],
            patients=self.patients[chosen],
        )

    def labelled(self, labels: Sequence[str]) -> Samples:
        """Return the same samples with other labels, (n,) names."""
        classes, index = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
        return replace(self, labels=index, classes=tuple(classes.tolist()))


def slide_samples(bags: Bags, classes: Sequence[str]) -> Samples:
    """Return one sample per slide, the mean of its patches' features."""
    sums = np.add.reduceat(bags.features.numpy().astype(np.float64), bags.offsets.numpy()[:-1], axis=0)
    means = (sums / bags.lengths.numpy()[:, None]).astype(np.float32)
    return Samples(
        means, bags.labels.numpy(), tuple(classes), np.array(bags.slide_ids, str), np.array(bags.patient_ids, str)
    )


def patch_samples(bags: Bags, *, most: int, seed: int) -> Samples | None:
    """Return one sample per patch of known label, at most `most` random ones of each slide; None if no label is known."""
    if bags.patch_labels is None:
        return None
    labels, offsets = bags.patch_labels.numpy(), bags.offsets.numpy()
    rows, slides = [], []
    for slide in range(len(bags)):
        labelled = offsets[slide] + np.flatnonzero(labels[offsets[slide] : offsets[slide + 1]] >= 0)
        drawn = np.sort(labelled[permutation(len(labelled), seed, slide)[:most]])
        rows.append(drawn)
        slides.append(np.full(len(drawn), slide))
    chosen, slide = np.concatenate(rows), np.concatenate(slides)
    return Samples(
        bags.features.numpy()[chosen],
        (labels[chosen] > 0).astype(np.int64),
        PATCH_CLASSES,
        np.array(bags.slide_ids, str)[slide],
        np.array(bags.patient_ids, str)[slide],
    )


def require_patients(samples: Samples, what: str, least: int = 2) -> None:
    """Check that each class has enough patients to leave some out.

    Raises:
        DataError: a class has fewer patients than `least`.
    """
    for number, name in enumerate(samples.classes):
        count = len(np.unique(samples.patients[samples.labels == number]))
        if count < least:
            raise DataError(
                f"{what} of label {name} are of {count} patients; leaving patients out needs at least {least} of each label"
            )
