"""The features of all patches of a feature store, as unit vectors whose dot products are cosines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsc_ray.cohort import Cohort
from wsc_ray.cohort.cohort import PATCHES, PATIENT
from wsc_ray.errors import DataError
from wsc_ray.features.store import read_slide
from wsc_ray.progress import Progress
from wsc_ray.storage import AnyPath


@dataclass(frozen=True, eq=False)
class PatchVectors:
    """The n patches of S slides; the slides of a patient are next to each other.

    Attributes:
        vectors: (n, D) float32, of length 1: a dot product is the cosine of two patches' features.
        coords: (n, 2) int64, level-0 px.
        offsets: (S + 1,) int64; slide i has the patches `offsets[i]` to `offsets[i + 1]`.
        slide_ids, patient_ids: (S,).
    """

    vectors: np.ndarray
    coords: np.ndarray
    offsets: np.ndarray
    slide_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def slide_of(self) -> np.ndarray:
        """The index of each patch's slide, (n,) int64."""
        return np.repeat(np.arange(len(self.slide_ids)), np.diff(self.offsets))

    def rows(self, slide_id: str) -> range:
        """Return the rows of a slide's patches.

        Raises:
            DataError: there is no such slide.
        """
        if slide_id not in self.slide_ids:
            raise DataError(f"the features hold no slide {slide_id}, among {len(self.slide_ids):,} slides")
        place = self.slide_ids.index(slide_id)
        return range(int(self.offsets[place]), int(self.offsets[place + 1]))

    def rows_of_patients(self) -> list[range]:
        """Return the rows of each patient's patches."""
        starts = [i for i, name in enumerate(self.patient_ids) if i == 0 or name != self.patient_ids[i - 1]]
        ends = [*starts[1:], len(self.patient_ids)]
        return [
            range(int(self.offsets[start]), int(self.offsets[end])) for start, end in zip(starts, ends, strict=True)
        ]


def load_vectors(folder: AnyPath, cohort: Cohort) -> PatchVectors:
    """Read the features of every slide of a store.

    Args:
        cohort: the store's table of slides, with `patches`.

    Raises:
        DataError: features cannot be read, are not finite, or have different widths; or there is no patch at all.
    """
    rows = sorted(
        zip(cohort.texts(PATIENT), cohort.ids, cohort.slides[PATCHES].to_pylist(), strict=True),
        key=lambda row: (str(row[0]), row[1]),
    )
    offsets = np.cumsum([0, *(patches for _, _, patches in rows)])
    if not offsets[-1]:
        raise DataError(f"none of the {len(rows):,} slides in {folder} has a patch; there is nothing to compare")
    vectors: np.ndarray | None = None
    coords = np.empty((offsets[-1], 2), np.int64)
    with Progress("reading features", int(offsets[-1]), unit="patches") as progress:
        for (_, slide_id, patches), start in zip(rows, offsets.tolist(), strict=False):
            if not patches:
                continue
            slide = read_slide(folder, slide_id)
            if vectors is None:
                vectors = np.empty((int(offsets[-1]), slide.features.shape[-1]), np.float32)
            if slide.features.shape != (patches, vectors.shape[1]):
                raise DataError(
                    f"features of slide {slide_id} in {folder} are {slide.features.shape} instead of {(patches, vectors.shape[1])}; "
                    "embed it again, with one encoder"
                )
            vectors[start : start + patches] = unit_vectors(slide.features, slide_id)
            coords[start : start + patches] = slide.coords
            progress.advance(patches)
    assert vectors is not None  # there is a patch
    return PatchVectors(vectors, coords, offsets, tuple(row[1] for row in rows), tuple(str(row[0]) for row in rows))


def unit_vectors(features: np.ndarray, name: str) -> np.ndarray:
    """Return features (n, D) scaled to length 1, float32.

    Raises:
        DataError: features are not finite numbers, or all 0.
    """
    features = features.astype(np.float32, copy=False)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise DataError(
            f"features of slide {name} are not all finite numbers, or all zero; the encoder has diverged, embed it again"
        )
    return features / lengths
