"""Augmented views of a patch for `embed --views`: pretraining's own augmentations, the same for ever for one patch and seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.parameters import view_draws, view_parameters


@dataclass(frozen=True)
class Augmentation:
    """What decides the views of every patch.

    Attributes:
        views: K, how many of each patch.
        augment: of the recipe; its `size` is not used, a view is as large as the encoder takes patches, nor is `neighbour`.
        seed: of the recipe.
    """

    views: int
    augment: Augment
    seed: int

    def to_json(self) -> dict[str, Any]:
        """As a store's identity keeps it."""
        return {
            "count": self.views,
            "seed": self.seed,
            "augment": self.augment.model_dump(mode="json", exclude={"size", "neighbour"}),
        }

    def apply(self, image: np.ndarray, size: int, slide_id: str, x: int, y: int) -> np.ndarray:
        """The views of a patch, whoever makes them and whatever was made before.

        Args:
            image: (h, w, 3) uint8 RGB.
            size: side of a view, px.
            slide_id, x, y: which patch it is.

        Returns:
            (K, size, size, 3) uint8.
        """
        digest = hashlib.sha256(f"{slide_id}\0{x}\0{y}".encode()).digest()
        draws = view_draws(-(-self.views // 2), self.seed, int.from_bytes(digest[:16]))  # a row is of two views
        height, width, _ = image.shape
        parameters = np.concatenate([view_parameters(self.augment, height, width, row.tolist()) for row in draws])
        views = np.empty((self.views, size, size, 3), np.uint8)
        for row, view in zip(parameters, views, strict=False):  # of an odd number the last one is left
            apply_view(image, row, size, out=view)
        return views
