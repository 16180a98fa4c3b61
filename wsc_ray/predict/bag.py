"""A slide to predict, and its features with the attributes that place its patches on the slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wsc_ray import checksums
from wsc_ray.errors import DataError
from wsc_ray.feature_files.files import UNREADABLE
from wsc_ray.features.foreign import open_foreign
from wsc_ray.files import first_line, local_file
from wsc_ray.progress import Progress
from wsc_ray.storage import AnyPath


@dataclass(frozen=True)
class Asked:
    """A slide to predict.

    Attributes:
        patient_id: None if unknown.
        path: the file of its features; None if it has none, and then `note` gives the reason.
        note: remarks for people, in words.
        patches: the number of its patches; None if unknown beforehand.
        mpp: um/px of level 0; None if unknown.
    """

    slide_id: str
    patient_id: str | None = None
    path: AnyPath | None = None
    note: str = ""
    patches: int | None = None
    mpp: float | None = None

    def without(self, reason: str) -> Asked:
        """Return the same slide without features, with the reason added to its note."""
        return replace(self, path=None, note=f"{self.note}; {reason}" if self.note else reason)


@dataclass(frozen=True, eq=False)
class Bag:
    """A slide's features (N, D) float32, `coords` (N, 2) int64 in level-0 px, and the attributes of `coords`; see `wsc_ray.attention.file`."""

    features: np.ndarray
    coords: np.ndarray
    encoder: str | None
    attributes: Mapping[str, Any]


def read_bag(asked: Asked) -> Bag:
    """Read a slide's features from a file of `embed`, TRIDENT, CLAM or STAMP.

    Raises:
        DataError: the file is missing or damaged, or its number of patches is not `asked.patches`.
    """
    assert asked.path is not None
    try:
        with local_file(asked.path) as local:
            checksums.check(local)
            with open_foreign(local, asked.mpp) as slide:
                parts = [features for features, _ in slide.pieces()]
                empty = np.zeros((0, slide.features.shape[1]), np.float32)
                bag = Bag(
                    np.concatenate(parts) if parts else empty,
                    slide.coords,
                    slide.encoder,
                    _attributes(slide.attributes, asked.mpp),
                )
    except FileNotFoundError:
        raise DataError("its features are missing") from None
    except UNREADABLE as error:
        raise DataError(f"its features cannot be read: {first_line(error)}") from None
    if asked.patches is not None and asked.patches != len(bag.features):
        raise DataError(f"its features are of {len(bag.features):,} patches where {asked.patches:,} belong")
    return bag


def load_bag(asked: Asked, width: int, encoder: str | None = None) -> tuple[Asked, Bag | None]:
    """Return a slide and its features; if these cannot be read or hold no patch, return it without features, the reason in its note.

    Args:
        width: D, the width of the features that the head takes.
        encoder: the encoder's name to expect in the file; not compared where the file names none.

    Raises:
        DataError: the features have another width or encoder, or are not finite; the other slides are likely to have the same fault.
    """
    if asked.path is None:
        return asked, None
    try:
        bag = read_bag(asked)
    except DataError as error:
        return asked.without(str(error)), None
    if not len(bag.features):
        return asked.without("it has no patches"), None
    found = bag.features.shape[1]
    if found != width:
        raise DataError(
            f"features of slide {asked.slide_id} have {found} dimensions and the head was fitted to {width}; use the encoder it was tuned "
            "with"
        )
    if encoder and bag.encoder and bag.encoder != encoder:
        raise DataError(
            f"features of slide {asked.slide_id} are by the encoder {bag.encoder} and the head was fitted to those of {encoder}; use the "
            "encoder it was tuned with"
        )
    if not np.isfinite(bag.features).all():
        raise DataError(f"features of slide {asked.slide_id} are not all finite numbers; embed it again")
    return asked, bag


def look_at(asked: Sequence[Asked], width: int, encoder: str | None = None) -> list[Asked]:
    """Read all features once with `load_bag`, so that faults of the whole input are reported before anything is written."""
    found = []
    with Progress("predict: looking at features", len(asked), unit="slides") as progress:
        for each in asked:
            found.append(load_bag(each, width, encoder)[0])
            progress.advance(1)
    return found


def _attributes(known: Mapping[str, Any], mpp_level0: float | None) -> dict[str, Any]:
    """Return the attributes that a file gives for its coordinates, and those that follow: `mpp`, `mpp_level0` and `patch_size_level0`."""
    found = {name: value for name, value in known.items() if value is not None}
    if "mpp" not in found and found.get("target_magnification"):
        found["mpp"] = 10 / float(found["target_magnification"])  # 10x is 1 um/px by the usual convention
    size, size_level0, mpp = (found.get(name) for name in ("patch_size", "patch_size_level0", "mpp"))
    if mpp_level0 is None and size and size_level0 and mpp:
        mpp_level0 = float(mpp) * size / size_level0
    if mpp_level0 is not None:
        found["mpp_level0"] = float(mpp_level0)
        if not size_level0 and size and mpp:
            found["patch_size_level0"] = round(size * float(mpp) / mpp_level0)
    return found
