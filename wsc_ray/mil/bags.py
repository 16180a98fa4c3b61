"""Bags: the features of a store's slides, packed one after the other without padding."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from wsc_ray.errors import DataError
from wsc_ray.features.store import SlideFeatures, read_slide, slide_path
from wsc_ray.storage import AnyPath

PATCHES_AT_ONCE = 65_536


@dataclass(frozen=True)
class Bags:
    """b bags of D-dimensional features, one bag per slide.

    Bag i is `features[offsets[i]:offsets[i + 1]]`. Every bag from `load_bags` has at least one patch; slides without patches (no
    tissue was found) are left out and named in `empty`, since nothing can be predicted for them.
    """

    features: torch.Tensor  # (n, D) float32, n patches over all bags
    offsets: torch.Tensor  # (b + 1,) int64, from 0 to n
    labels: torch.Tensor  # (b,) int64, index of the slide's class
    coords: torch.Tensor  # (n, 2) int64, level-0 px
    slide_ids: tuple[str, ...]  # (b,)
    patient_ids: tuple[str, ...]  # (b,)
    patch_labels: torch.Tensor | None = None  # (n,) int8: 0, 1, or below 0 where unknown; only for measuring
    empty: tuple[str, ...] = field(default=())  # slides left out

    def __len__(self) -> int:
        return len(self.slide_ids)

    @property
    def lengths(self) -> torch.Tensor:
        """Number of patches of each bag, (b,) int64."""
        return self.offsets.diff()

    @property
    def at_once(self) -> int:
        """Number of patches that a prediction takes together; it bounds the memory for any size of slides."""
        return PATCHES_AT_ONCE

    @property
    def width(self) -> int:
        """D, of the features."""
        return self.features.shape[1]

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and standard deviation of each dimension, (D,) each."""
        std, mean = torch.std_mean(self.features, dim=0, correction=0)
        return mean, std

    def take(self, chosen: torch.Tensor, at_most: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (m, D) and offsets (k + 1,) of the bags at `chosen` (k,), with at most `at_most` random patches of each."""
        rows, offsets = draw_rows(self.offsets, chosen, at_most)
        return self.features[rows], offsets

    def between(self, first: int, last: int) -> torch.Tensor:
        """Return the features (m, D) of the bags from `first` up to, not including, `last`."""
        return self.features[int(self.offsets[first]) : int(self.offsets[last])]

    def select(self, indices: Sequence[int] | torch.Tensor) -> Bags:
        """Return a copy of the bags at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        rows, offsets = gather(self.offsets, chosen)
        return Bags(
            features=self.features[rows],
            offsets=offsets,
            labels=self.labels[chosen],
            coords=self.coords[rows],
            slide_ids=tuple(self.slide_ids[i] for i in chosen),
            patient_ids=tuple(self.patient_ids[i] for i in chosen),
            patch_labels=None if self.patch_labels is None else self.patch_labels[rows],
        )

    def to(self, device: torch.device | str) -> Bags:
        """Return the same bags with every tensor on `device`."""
        return replace(
            self,
            features=self.features.to(device),
            offsets=self.offsets.to(device),
            labels=self.labels.to(device),
            coords=self.coords.to(device),
            patch_labels=None if self.patch_labels is None else self.patch_labels.to(device),
        )

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the data that a head is fitted to: ids, labels and features."""
        digest = begun_digest(self.slide_ids, self.patient_ids, self.labels, self.offsets)
        digest.update(self.features.contiguous().numpy().data.cast("B"))
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        # Ray's object store holds numpy arrays once and maps them into every trial; tensors would be copied to each.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in values.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # shared memory; bags are only read
            for name, value in state.items():
                object.__setattr__(self, name, torch.from_numpy(value) if isinstance(value, np.ndarray) else value)


def begun_digest(
    slide_ids: Sequence[str], patient_ids: Sequence[str], labels: torch.Tensor, offsets: torch.Tensor
) -> Any:
    """Return a SHA-256 object with ids, labels and offsets, to be updated with the features' bytes."""
    digest = hashlib.sha256(repr((tuple(slide_ids), tuple(patient_ids), labels.tolist())).encode())
    digest.update(offsets.contiguous().numpy().data.cast("B"))
    return digest


def gather(offsets: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of the chosen bags in a packed tensor, and the offsets of these bags when packed on their own.

    Args:
        offsets: (b + 1,) int64.
        chosen: (k,) int64, the bags to take, in order.

    Returns:
        rows (m,) int64 and offsets (k + 1,) int64.
    """
    lengths = offsets.diff()[chosen]
    packed = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    starts = torch.repeat_interleave(offsets[chosen] - packed[:-1], lengths)  # (m,)
    return starts + torch.arange(len(starts), device=starts.device), packed


def draw_rows(offsets: torch.Tensor, chosen: torch.Tensor, at_most: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """As `gather`, but of a bag with more than `at_most` rows draw that many at random (torch's generator), in ascending order."""
    lengths = offsets.diff()[chosen]
    if at_most is None or int(lengths.max()) <= at_most:
        return gather(offsets, chosen)
    starts = offsets[chosen].tolist()
    parts = [
        start + (torch.arange(length) if length <= at_most else torch.randperm(length)[:at_most].sort().values)
        for start, length in zip(starts, lengths.tolist(), strict=True)
    ]
    packed = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
    return torch.cat(parts).to(offsets.device), packed.to(offsets.device)


def class_order(labels: Sequence[str], pure: Sequence[str]) -> list[str]:
    """Return the classes in order: pure labels first, then the others, each sorted; of two classes the second is the positive one.

    Raises:
        DataError: there are fewer than two classes, or none of them is pure.
    """
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"slides of one label only ({', '.join(classes) or 'none'}); a head needs two to tell apart")
    if not set(classes) & set(pure):
        raise DataError(
            f"data.pure ({', '.join(pure)}) is none of the slides' labels ({', '.join(classes)}); name the pure one"
        )
    return sorted(classes, key=lambda label: (label not in pure, label))


def load_bags(folder: AnyPath, slides: pa.Table, classes: Sequence[str], *, patch_labels: bool = False) -> Bags:
    """Read the features of `slides` (rows of the store's table of slides) into memory.

    Args:
        classes: the labels in order; a slide's class is the index of its label.
        patch_labels: whether to read patch labels too, for measuring; fitting and choosing never see them.

    Raises:
        DataError: a slide's file is missing or does not match its row, features are not finite or have different widths, a label
            is not among the classes, or no slide has a patch.
    """
    rows, full = full_slides(folder, slides, classes)
    total = sum(row["patches"] for row in full)
    packed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = (
        None  # None until the first slide shows the width of the features
    )
    any_known = False
    offsets = np.zeros(len(full) + 1, dtype=np.int64)
    for index, row in enumerate(full):
        slide = read_slide(folder, row["slide_id"])
        width = slide.features.shape[1] if packed is None else packed[0].shape[1]
        check_slide(slide, row["patches"], width, full[0]["slide_id"])
        packed = features, coords, known = packed or _allocate(total, width)
        start, stop = offsets[index], offsets[index] + row["patches"]
        offsets[index + 1] = stop
        features[start:stop], coords[start:stop] = slide.features, slide.coords
        if patch_labels and slide.patch_label is not None:
            known[start:stop] = slide.patch_label
            any_known = True
    return Bags(
        features=torch.from_numpy(features),
        offsets=torch.from_numpy(offsets),
        labels=torch.tensor([classes.index(row["label"]) for row in full]),
        coords=torch.from_numpy(coords),
        slide_ids=tuple(row["slide_id"] for row in full),
        patient_ids=tuple(row["patient_id"] for row in full),
        patch_labels=torch.from_numpy(known) if any_known else None,
        empty=tuple(row["slide_id"] for row in rows if not row["patches"]),
    )


def _allocate(patches: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arrays for features (n, D) float32, coordinates (n, 2) int64 and patch labels (n,) int8, filled with -1.

    Raises:
        DataError: this machine has too little memory.
    """
    try:
        features = np.empty((patches, width), dtype=np.float32)
        return features, np.empty((patches, 2), dtype=np.int64), np.full(patches, -1, dtype=np.int8)
    except (MemoryError, ValueError):
        raise DataError(
            f"{patches:,} patches of {width:,} features need {4 * patches * width / 2**20:,.0f} MiB of memory, more than this machine has; with "
            "tune.features: disk, `tune` leaves them in their files"
        ) from None


def full_slides(
    folder: AnyPath, slides: pa.Table, classes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of a table of slides, and the rows of slides that have patches.

    Raises:
        DataError: a slide's file is missing, a label is not among the classes, or no slide has a patch.
    """
    rows = slides.to_pylist()
    unknown = sorted({row["label"] for row in rows} - set(classes))
    if unknown:
        raise DataError(
            f"slides are labelled {', '.join(unknown)}, which is none of the head's classes ({', '.join(classes)})"
        )
    for row in rows:
        if not slide_path(folder, row["slide_id"]).is_file():
            raise DataError(
                f"features of slide {row['slide_id']} are missing in {folder}; `wsc-ray embed` writes what is missing"
            )
    full = [row for row in rows if row["patches"]]
    if not full:
        raise DataError(f"none of the {len(rows)} slides has a patch; there is nothing to learn from or to predict")
    return rows, full


def check_slide(slide: SlideFeatures, patches: int, width: int, first: str) -> None:
    """Check that a slide's features have the expected shape and are finite.

    Args:
        slide: the slide's features.
        patches: the slide's number of patches in the table of slides.
        width: the width of the features of slide `first`.
        first: id of the store's first slide, for the message.

    Raises:
        DataError: the number of patches or the width differs, or values are not finite.
    """
    name, shape = slide.slide_id, slide.features.shape
    if len(shape) != 2 or shape[0] != patches or slide.coords.shape != (patches, 2):
        raise DataError(
            f"features of slide {name} are {shape}, while slides.parquet says {patches} patches; embed it again"
        )
    if shape[1] != width:
        raise DataError(
            f"features of slide {name} have {shape[1]} dimensions and those of {first} {width}; use one encoder"
        )
    if not np.isfinite(slide.features).all():
        raise DataError(f"features of slide {name} are not all finite numbers; the encoder has diverged")


def slides_of(slides: pa.Table, split: str) -> pa.Table:
    """Return the rows of one split, sorted by slide id, so that no result depends on the order in which slides were embedded."""
    return slides.filter(pc.equal(slides["split"], split)).sort_by("slide_id")
