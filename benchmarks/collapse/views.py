"""The patches of a grid: some views of each are made once, and every step draws two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from wsc_ray.encoders import PatchEncoder
from wsc_ray.encoders.model import PixelStatistics, normalise_pixels
from wsc_ray.errors import DataError
from wsc_ray.files import first_line
from wsc_ray.pixels import decode
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import two_views
from wsc_ray.stream.views import pair_draws

COLUMNS = ["slide_label", "split", "image"]


@dataclass(frozen=True, eq=False)
class Views:
    """K views of each of n pure and n mixed patches.

    Attributes:
        values: (2, n, K, ...), pure patches first.
    """

    values: np.ndarray

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield the batch of every step, as the stream does: one half of the patches is pure, and each has two of its K views."""
        _, count, views = self.values.shape[:3]
        half = batch_size // 2
        for step in range(steps):
            rng = np.random.default_rng([seed, step])
            rows = np.concatenate([rng.permutation(count)[:half] for _ in range(2)])
            kinds = np.repeat([0, 1], half)
            pairs = pair_draws(views, batch_size, seed, step)
            yield {
                "views": self.values[kinds[:, None], rows[:, None], pairs],
                "label": kinds,
                "step": np.full(batch_size, step),
            }


def read_patches(file: Path, count: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return `count` pure and `count` mixed training patches, (h, w, 3) uint8 each, from slides with the labels 0 and 1.

    Args:
        file: a Parquet table with the columns `slide_label`, `split` and `image`.

    Raises:
        DataError: the table cannot be read, or has too few patches of a class.
    """
    try:
        table = pq.read_table(file, columns=COLUMNS, filters=pc.field("split") == "train")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read as a table of patches: {first_line(error)}") from None
    labels = table["slide_label"].to_numpy()
    found = []
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise DataError(f"{file} has {len(rows)} training patches of label {label}; the grid takes {count}")
        chosen = np.random.default_rng([seed, label]).permutation(rows)[:count]
        found.append([decode(image) for image in table["image"].take(pa.array(chosen)).to_pylist()])
    return found[0], found[1]


def draw_views(patches: tuple[list[np.ndarray], list[np.ndarray]], size: int, views: int, seed: int = 0) -> Views:
    """Return views of patches, by the recipe's default augmentation at `size` px; `views` is even."""
    config = Augment(size=size)
    values = np.empty((2, len(patches[0]), views, size, size, 3), np.uint8)
    for kind, images in enumerate(patches):
        for row, image in enumerate(images):
            for pair in range(views // 2):
                values[kind, row, 2 * pair : 2 * pair + 2] = two_views(image, config, seed, kind, row, pair)
    return Views(values)


@torch.inference_mode()
def embed_views(views: Views, encoder: PatchEncoder, statistics: PixelStatistics, lot: int = 256) -> Views:
    """Return the backbone's features of every view, float16."""
    encoder.eval()
    flat = torch.from_numpy(views.values).flatten(0, 2)
    parts = [encoder.backbone(normalise_pixels(part, statistics)) for part in flat.split(lot)]
    features = torch.cat(parts).half().numpy()
    return replace(views, values=features.reshape(*views.values.shape[:3], -1))
