"""The encoded images in memory, for the reference and for decoding alone."""

from __future__ import annotations

import numpy as np

from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import PixelSource, Unreadable


def encoded_images(uri: str, split: str, count: int) -> list[bytes]:
    """Up to `count` encoded images of a split, whole row groups from all over the manifest.

    Raises:
        DataError: an image that cannot be read.
    """
    manifest = open_manifest(uri)
    cohort = manifest.cohort()
    mine = {slide for slide, of in zip(cohort.texts("slide_id"), cohort.texts("split"), strict=True) if of == split}
    runs = manifest.runs()
    numbers = np.unique(runs.group[np.isin(runs.slide, [i for i, name in enumerate(runs.slides) if name in mine])])
    groups = [manifest.row_groups[number] for number in numbers]
    rows = sum(group.rows for group in groups)
    source = PixelSource([manifest.pixels], manifest.folder)
    images: list[bytes] = []
    for group in groups[:: max(1, rows // count)]:
        patches = manifest.read_group(group.file, group.row_group, ["slide_id", *source.columns]).to_pylist()
        for image in source.fetch([patch for patch in patches if patch["slide_id"] in mine]):
            if isinstance(image, Unreadable):
                raise DataError(image.reason)
            images.append(image)
    return images[:count]
