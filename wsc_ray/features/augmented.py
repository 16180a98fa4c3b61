"""Make augmented views of patches for `embed --views`, with pretraining's augmentations; patch and seed decide the views."""

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
    """The settings that decide the views of every patch.

    Attributes:
        views: K, the number of views of each patch.
        augment: the recipe's section; its `size` is not used, since a view has the encoder's input size, nor is `neighbour`.
        seed: the recipe's seed.
    """

    views: int
    augment: Augment
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the settings for a store's identity."""
        return {
            "count": self.views,
            "seed": self.seed,
            "augment": self.augment.model_dump(mode="json", exclude={"size", "neighbour"}),
        }

    def apply(self, image: np.ndarray, size: int, slide_id: str, x: int, y: int) -> np.ndarray:
        """Return the views of a patch, which do not depend on other patches or the process.

        Args:
            image: (h, w, 3) uint8 RGB.
            size: side of a view, px.
            slide_id, x, y: the patch's slide and level-0 coordinates; they seed its random numbers.

        Returns:
            (K, size, size, 3) uint8.
        """
        digest = hashlib.sha256(f"{slide_id}\0{x}\0{y}".encode()).digest()
        draws = view_draws(-(-self.views // 2), self.seed, int.from_bytes(digest[:16]))  # a row serves two views
        height, width, _ = image.shape
        parameters = np.concatenate([view_parameters(self.augment, height, width, row.tolist()) for row in draws])
        views = np.empty((self.views, size, size, 3), np.uint8)
        for row, view in zip(parameters, views, strict=False):  # if K is odd, one row of parameters is left over
            apply_view(image, row, size, out=view)
        return views
