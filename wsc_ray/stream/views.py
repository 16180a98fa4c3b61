"""Make the two views of each patch: by drawing and applying parameters, or by choosing two of its stored views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from wsc_ray.feature_files.table import FeatureTable
from wsc_ray.random import uniform
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.parameters import view_draws, view_parameters
from wsc_ray.stream.source import Source

_PAIR = 5  # part of a random stream's key; see order.py


class Views(Protocol):
    """Collects the two views of each patch of a step."""

    def add(self, content: np.ndarray, position: int, second: np.ndarray | None = None) -> np.ndarray:
        """Make the views of the next patch.

        Args:
            content: the patch's image or stored views.
            position: the patch's position in the global batch.
            second: the content of another patch, of which the second view is made; None for the patch itself.

        Returns:
            The parameters of both views, (2, P) float32.
        """
        ...

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the batch that hold the views, once every patch has been added."""
        ...


def views_of(
    source: Source, augment: Augment, *, on_device: bool, rows: int, patches: int, key: tuple[int, ...]
) -> Views:
    """Return an empty collection of views for a worker's part of a step.

    Args:
        rows: number of patches in the part.
        patches: number of patches in the global batch.
        key: integers that seed the random numbers; views depend on them and the patch's position only.
    """
    if isinstance(source, FeatureTable):
        return ChosenViews(source.views, source.width, rows, pair_draws(source.views, patches, *key))
    draws = view_draws(patches, *key)
    return PaddedImages(augment, draws) if on_device else DrawnViews(augment, rows, draws)


def step_bytes(source: Source, augment: Augment, *, on_device: bool, rows: int) -> int:
    """Return the fewest bytes that the views of `rows` patches take."""
    if isinstance(source, FeatureTable):
        return rows * 2 * source.width * np.dtype(np.float16).itemsize
    # `padded` makes a patch that is augmented later at least half as wide and high as a view.
    return rows * 3 * ((augment.size // 2) ** 2 if on_device else 2 * augment.size**2)


def pair_draws(views: int, count: int, *key: int) -> np.ndarray:
    """Return the numbers of two different views for each of `count` patches, (count, 2) int64, every pair equally likely.

    Args:
        views: number of stored views of each patch.
        key: integers that seed the random numbers; a row depends on them and its index only.
    """
    draws = uniform(2 * count, _PAIR, *key).reshape(count, 2)
    first = (draws[:, 0] * views).astype(np.int64)
    return np.stack([first, (first + 1 + (draws[:, 1] * (views - 1)).astype(np.int64)) % views], axis=1)


class DrawnViews:
    """Views that are made from images on the CPU; gives `views` (n, 2, size, size, 3) uint8."""

    def __init__(self, augment: Augment, rows: int, draws: np.ndarray):
        self._augment, self._draws, self._row = augment, draws, 0
        self._views = np.empty((rows, 2, augment.size, augment.size, 3), np.uint8)

    def add(self, content: np.ndarray, position: int, second: np.ndarray | None = None) -> np.ndarray:
        shown = (content, content if second is None else second)
        draws = self._draws[position].tolist()
        height, width, _ = content.shape
        parameters = view_parameters(self._augment, height, width, draws)
        if second is not None and second.shape != content.shape:
            height, width, _ = second.shape
            parameters[1] = view_parameters(self._augment, height, width, draws)[1]
        for image, view, drawn in zip(shown, self._views[self._row], parameters, strict=True):
            apply_view(image, drawn, self._augment.size, out=view)
        self._row += 1
        return parameters

    def columns(self) -> dict[str, np.ndarray]:
        return {"views": self._views}


class PaddedImages:
    """Images whose views are made later, on the model's device; gives `images` (n, h, w, 3) uint8, see `padded`."""

    def __init__(self, augment: Augment, draws: np.ndarray):
        self._augment, self._draws = augment, draws
        self._images: list[np.ndarray] = []

    def add(self, content: np.ndarray, position: int, second: np.ndarray | None = None) -> np.ndarray:
        assert second is None  # a recipe with both is refused
        height, width, _ = content.shape
        self._images.append(content)
        return view_parameters(self._augment, height, width, self._draws[position].tolist())

    def columns(self) -> dict[str, np.ndarray]:
        return {"images": padded(self._images, self._augment.size)}


class ChosenViews:
    """Two of the stored views of each patch; gives `views` (n, 2, D) float16. Their parameters are their numbers."""

    def __init__(self, views: int, width: int, rows: int, pairs: np.ndarray):
        self._pairs, self._row = pairs, 0
        self._views = np.empty((rows, 2, width), np.float16)

    def add(self, content: np.ndarray, position: int, second: np.ndarray | None = None) -> np.ndarray:
        assert second is None  # a recipe with both is refused
        pair = self._pairs[position]
        self._views[self._row] = content[pair]
        self._row += 1
        return pair[:, None].astype(np.float32)

    def columns(self) -> dict[str, np.ndarray]:
        return {"views": self._views}


def padded(images: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Return images of any sizes as one array, (n, h, w, 3) uint8, black below and to the right of smaller ones.

    Args:
        size: side of a view; the array is at least half as high and wide, so that a step never takes only a few bytes.
    """
    height, width = (max(max(image.shape[axis] for image in images), size // 2) for axis in (0, 1))
    whole = np.zeros((len(images), height, width, 3), np.uint8)
    for image, frame in zip(images, whole, strict=True):
        frame[: image.shape[0], : image.shape[1]] = image
    return whole
