"""Where training patches come from: a manifest with pixels, or a feature store with views.

Both say which slides and row groups there are, so that one plan, one order and one stream serve both. They differ in what a row
holds, which stands here, and in how the two views of a patch are made of it, which stands in `views`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from wsc_ray.errors import RecipeError
from wsc_ray.feature_files.table import FeatureTable, StoredViews, open_features
from wsc_ray.manifest import Manifest, open_manifest
from wsc_ray.pixels import PixelSource
from wsc_ray.pixels.sources import Fetched
from wsc_ray.recipe.sections import Data

Source = Manifest | FeatureTable


def named_source(data: Data) -> str | None:
    """The path or URI of the patches that a recipe names."""
    return data.features or data.manifest


def open_source(data: Data) -> Source:
    """The patches that a recipe trains on.

    Raises:
        RecipeError: it names none.
        ManifestError, DataError: they cannot be read.
    """
    if data.features:
        return open_features(data.features)
    if not data.manifest:
        raise RecipeError("recipe", ["`data.manifest`: missing; name the folder that `wsc-ray manifest import` wrote"])
    return open_manifest(data.manifest)


class Contents(Protocol):
    """What rows hold of their patches.

    Attributes:
        columns: that are read of a row.
    """

    columns: tuple[str, ...]

    def fetch(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Fetched]:
        """What belongs to each row, in order."""
        ...


def contents_of(source: Source, *, retries: int, sleep: Callable[[float], None] = time.sleep) -> Contents:
    """What is read of the rows of a source.

    Args:
        retries: see `read_all`.
    """
    if isinstance(source, FeatureTable):
        return StoredViews(source)
    return PixelSource(source.patch_columns, source.folder, retries=retries, sleep=sleep)


def blank_of(source: Source) -> np.ndarray:
    """A patch of zeros, as its rows hold one."""
    if isinstance(source, FeatureTable):
        return np.zeros((source.views, source.width), np.float16)
    return np.zeros((8, 8, 3), np.uint8)
