"""`attention/<slide>.h5`: the share of a slide's attention that each patch has, and the patch's position.

| dataset | shape | content |
| --- | --- | --- |
| `attention` | (N,) float32 | mean over the members; sums to 1 |
| `member_attention` | (M, N) float32 | attention of each member; attribute `members`: their names |
| `member_probabilities` | (M, C) float64 | probabilities of each member; attribute `classes`: the classes' names |
| `coords` | (N, 2) int64 | upper left corners, level-0 px, with the attributes of TRIDENT's files (https://github.com/mahmoodlab/TRIDENT) |

Attributes of `coords`, where known: `name`, `savetodir`, `patch_size` (px as stored), `patch_size_level0`, `overlap`, `target_magnification`,
`level0_width`, `level0_height`; and two that TRIDENT lacks, `mpp` (um/px of the patch as stored) and `mpp_level0` (um/px of level 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from wsc_ray import checksums
from wsc_ray.errors import DataError
from wsc_ray.feature_files.files import UNREADABLE, slide_path
from wsc_ray.files import first_line, local_file
from wsc_ray.hdf5 import new_hdf5
from wsc_ray.storage import AnyPath
from wsc_ray.uris import shown

_OF_FILE = ("name", "savetodir")  # attributes that `write_attention` sets itself
ATTENTION = "attention"  # name of the dataset, and of the folder with these files


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The attention of M members over the N patches of a slide, and their probabilities of C classes.

    Attributes:
        coords: (N, 2) int64, level-0 px.
        member_attention: (M, N) float32; each row sums to 1.
        member_probabilities: (M, C) float64.
        attributes: the attributes of `coords`; see above.
    """

    slide_id: str
    coords: np.ndarray
    members: Sequence[str]
    member_attention: np.ndarray
    classes: Sequence[str]
    member_probabilities: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attention(self) -> np.ndarray:
        """Mean over the members, (N,) float32."""
        return self.member_attention.mean(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def probabilities(self) -> np.ndarray:
        """Mean over the members, (C,) float64."""
        return self.member_probabilities.mean(axis=0)

    @property
    def patch_size_level0(self) -> int | None:
        """Side of a patch in level-0 px; None if unknown."""
        size = self.attributes.get("patch_size_level0")
        return int(size) if size else None


def write_attention(folder: AnyPath, found: AttentionMap) -> AnyPath:
    """Write a slide's file in one step, and return its path.

    Raises:
        DataError: the slide's id cannot be a file name.
    """
    path = slide_path(folder, found.slide_id)
    with new_hdf5(path) as file:
        coords = file.create_dataset("coords", data=found.coords.astype(np.int64).reshape(-1, 2))
        coords.attrs.update({**found.attributes, "name": found.slide_id, "savetodir": shown(folder)})
        file.create_dataset(ATTENTION, data=found.attention)
        members = file.create_dataset("member_attention", data=found.member_attention.astype(np.float32))
        members.attrs["members"] = list(found.members)
        said = file.create_dataset("member_probabilities", data=found.member_probabilities.astype(np.float64))
        said.attrs["classes"] = list(found.classes)
    return path


def read_attention(folder: AnyPath, slide_id: str) -> AttentionMap:
    """Read a slide's file.

    Raises:
        DataError: the file is missing or damaged, or has another format.
    """
    path = slide_path(folder, slide_id)
    try:
        with local_file(path) as local:
            checksums.check(local)
            with h5py.File(local, "r") as file:
                coords = file["coords"]
                attributes = {name: _plain(value) for name, value in coords.attrs.items() if name not in _OF_FILE}
                return AttentionMap(
                    slide_id,
                    coords[:],
                    [str(name) for name in file["member_attention"].attrs["members"]],
                    file["member_attention"][:],
                    [str(name) for name in file["member_probabilities"].attrs["classes"]],
                    file["member_probabilities"][:],
                    attributes,
                )
    except UNREADABLE as error:
        raise DataError(
            f"the attention of slide {slide_id} cannot be read from {path}: {first_line(error)}; predict it again"
        ) from None


def _plain(value: Any) -> Any:
    """Return an attribute as a type of Python's own."""
    return value.item() if isinstance(value, np.generic) else value
