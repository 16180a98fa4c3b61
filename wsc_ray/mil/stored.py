"""Bags that stay in the files of their feature store: each step or prediction reads the features it needs, and keeps none.

They are for cohorts whose features are larger than memory. They have the methods of `Bags` that a fit uses, with the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from wsc_ray.features.store import read_rows, read_slide
from wsc_ray.mil.bags import begun_digest, check_slide, draw_rows, full_slides
from wsc_ray.storage import AnyPath

BLOCK = 4096  # rows that are converted to float64 at a time


@dataclass(frozen=True)
class StoredBags:
    """b bags of D-dimensional features in the files of a feature store, one bag per slide; see `Bags`.

    Attributes:
        folder: the feature store.
        offsets, labels, slide_ids, patient_ids: as in `Bags`.
        means: (b, D) float64, the mean of each slide's features.
        deviations: (b, D) float64, each slide's sum of squared deviations from its mean.
        content: SHA-256 (hex), as from `Bags.digest`; "" for a selection.
        device: the device to which features are copied when they are read.
    """

    folder: AnyPath
    offsets: torch.Tensor
    labels: torch.Tensor
    slide_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    means: torch.Tensor
    deviations: torch.Tensor
    content: str
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.slide_ids)

    @property
    def at_once(self) -> int:
        """Number of patches that a prediction takes together; small, to save memory."""
        return 8192

    @property
    def width(self) -> int:
        """D, of the features."""
        return self.means.shape[1]

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and standard deviation of each dimension, (D,) float32 each, pooled from the slides' (Chan et al. 1979)."""
        sizes = self.offsets.cpu().diff()[:, None].double()
        mean = (sizes * self.means).sum(0) / sizes.sum()
        variance = (self.deviations + sizes * (self.means - mean) ** 2).sum(0) / sizes.sum()
        return mean.float(), variance.sqrt().float()

    def take(self, chosen: torch.Tensor, at_most: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Bags.take`; the same random numbers give the same patches."""
        rows, packed = draw_rows(self.offsets, chosen, at_most)
        bounds, lengths = packed.tolist(), self.offsets.diff().tolist()
        features = torch.empty(len(rows), self.width)
        for place, bag in enumerate(chosen.tolist()):
            own = (rows[bounds[place] : bounds[place + 1]] - self.offsets[bag]).cpu().numpy()
            read = self._read(bag, None if len(own) == lengths[bag] else own)
            features[bounds[place] : bounds[place + 1]] = read
        return features.to(self.device), packed

    def between(self, first: int, last: int) -> torch.Tensor:
        """As `Bags.between`."""
        bounds = (self.offsets[first : last + 1] - self.offsets[first]).tolist()
        features = torch.empty(bounds[-1], self.width)
        for place, bag in enumerate(range(first, last)):
            features[bounds[place] : bounds[place + 1]] = self._read(bag, None)
        return features.to(self.device)

    def select(self, indices: Sequence[int] | torch.Tensor) -> StoredBags:
        """Return the bags at `indices`, in that order; they have no digest."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        lengths = self.offsets.diff()[chosen]
        return replace(
            self,
            offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
            labels=self.labels[chosen],
            slide_ids=tuple(self.slide_ids[i] for i in chosen),
            patient_ids=tuple(self.patient_ids[i] for i in chosen),
            means=self.means[chosen],
            deviations=self.deviations[chosen],
            content="",
        )

    def to(self, device: torch.device | str) -> StoredBags:
        """Return the same bags, whose features are copied to `device` when they are read."""
        return replace(self, offsets=self.offsets.to(device), labels=self.labels.to(device), device=str(device))

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the data that a head is fitted to, as `Bags.digest`."""
        assert self.content, "a selection of bags has no digest"
        return self.content

    def _read(self, bag: int, rows: np.ndarray | None) -> torch.Tensor:
        return torch.from_numpy(read_rows(self.folder, self.slide_ids[bag], rows).astype(np.float32, copy=False))


def find_bags(folder: AnyPath, slides: pa.Table, classes: Sequence[str]) -> StoredBags:
    """Return the bags of `slides` (rows of the store's table of slides); each file is read once, to check it and compute its moments.

    Raises:
        DataError: as `load_bags`.
    """
    _, full = full_slides(folder, slides, classes)
    ids = tuple(row["slide_id"] for row in full)
    patients = tuple(row["patient_id"] for row in full)
    labels = torch.tensor([classes.index(row["label"]) for row in full])
    offsets = torch.tensor([0, *(row["patches"] for row in full)]).cumsum(0)
    digest = begun_digest(ids, patients, labels, offsets)
    means: list[torch.Tensor] = []
    deviations: list[torch.Tensor] = []
    for row in full:
        slide = read_slide(folder, row["slide_id"])
        width = len(means[0]) if means else slide.features.shape[-1]
        check_slide(slide, row["patches"], width, full[0]["slide_id"])
        features = np.ascontiguousarray(slide.features, dtype=np.float32)
        digest.update(features.data.cast("B"))
        mean = features.mean(axis=0, dtype=np.float64)
        blocks = (features[start : start + BLOCK] - mean for start in range(0, len(features), BLOCK))
        means.append(torch.from_numpy(mean))
        deviations.append(torch.from_numpy(sum((block**2).sum(axis=0) for block in blocks)))
    return StoredBags(
        folder, offsets, labels, ids, patients, torch.stack(means), torch.stack(deviations), digest.hexdigest()
    )
