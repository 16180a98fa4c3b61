"""The sources of training patches: a manifest with pixels, or a feature store with views.

Both list their slides and row groups, so that one plan, one order and one stream serve both. They differ in what a row
holds (this module) and in how the two views of a patch are made from that (`views`).
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
    """Return the path or URI of the feature store or manifest that a recipe names; None if it names none."""
    return data.features or data.manifest


def open_source(data: Data) -> Source:
    """Return the feature store or manifest that a recipe trains on.

    Raises:
        RecipeError: the recipe names none.
        ManifestError, DataError: the source cannot be read.
    """
    if data.features:
        return open_features(data.features)
    if not data.manifest:
        raise RecipeError("recipe", ["`data.manifest`: missing; name the folder that `wsc-ray manifest import` wrote"])
    return open_manifest(data.manifest)


class Contents(Protocol):
    """Gives the contents of patches: their images, or their stored views.

    Attributes:
        columns: the columns of a row that `fetch` needs.
    """

    columns: tuple[str, ...]

    def fetch(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Fetched]:
        """Return the content of each row, in order, or the reason why it cannot be read."""
        ...


def contents_of(source: Source, *, retries: int, sleep: Callable[[float], None] = time.sleep) -> Contents:
    """Return the contents of a source's patches.

    Args:
        retries: see `read_all`.
    """
    if isinstance(source, FeatureTable):
        return StoredViews(source)
    return PixelSource(source.patch_columns, source.folder, retries=retries, sleep=sleep)


def blank_of(source: Source) -> np.ndarray:
    """Return a content of zeros, with the shape of the source's."""
    if isinstance(source, FeatureTable):
        return np.zeros((source.views, source.width), np.float16)
    return np.zeros((8, 8, 3), np.uint8)
