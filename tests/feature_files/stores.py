"""Feature stores with views, written without an encoder, in which every number shows which patch and view it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from wsc_ray.features.store import SlideFile, write_slides
from wsc_ray.stage import write_identity

WIDTH, VIEWS = 6, 4
ENCODER = "e" * 64
SLIDES = {f"n{i}": ("negative", 9 + i) for i in range(6)} | {f"p{i}": ("positive", 8 + i) for i in range(5)}


def features_of(slide: str, patches: int, *, views: int = VIEWS, width: int = WIDTH) -> np.ndarray:
    """Views of a slide's patches, (patches, views, width) float16; of positive slides every other patch is of another kind."""
    rng = np.random.default_rng(sum(slide.encode()))
    kind = np.zeros((patches, 1, width))
    kind[:: 1 + slide.startswith("n"), :, 0] += 3 * slide.startswith("p")
    own = rng.normal(size=(patches, 1, width))
    return (kind + own + 0.2 * rng.normal(size=(patches, views, width))).astype(np.float16)


def write_store(
    folder: Path,
    slides: Mapping[str, tuple[str, int]] = SLIDES,
    *,
    views: int | None = VIEWS,
    width: int = WIDTH,
    encoder: str = ENCODER,
) -> Path:
    """A store of slides, each of a label and so many patches, all in split `train`."""
    write_identity(folder, "embed", {"encoder": encoder, "size": 32, "manifest": "m" * 64, "views": {"count": views}})
    for slide, (_, patches) in slides.items():
        write_slide(folder, slide, features_of(slide, patches, views=views or 1, width=width), views=views is not None)
    ids = list(slides)
    write_slides(
        folder,
        pa.table(
            {
                "slide_id": ids,
                "patient_id": ids,
                "label": [label for label, _ in slides.values()],
                "split": ["train"] * len(ids),
                "patches": [patches for _, patches in slides.values()],
            }
        ),
    )
    return folder


def write_slide(folder: Path, slide: str, found: np.ndarray, *, views: bool = True) -> None:
    """One slide's file: plain features are the mean of the views, patch i lies at x = i, y = 2 i."""
    file = SlideFile(folder, slide, len(found), {"encoder": "drawn"})
    numbers = np.arange(len(found))
    file.append(
        found.mean(axis=1, dtype=np.float32), np.stack([numbers, 2 * numbers], 1), views=found if views else None
    )
    file.finish({"patch_size": 32, "overlap": 0})


def small_recipe(store: Path, tracking: str | None = None) -> dict:
    """A recipe that trains an adapter in no time, as a dictionary."""
    return {
        "data": {"features": str(store)},
        "encoder": {"backbone": "mlp", "weights": "random", "mlp_hidden": [16], "mlp_width": 12, "head_dim": 8},
        "loss": {"similarity_weight": 0.1, "similarity_warmup": 4},
        "stream": {"sampling": "epoch", "shards": 4, "window": 2, "record": True},
        "train": {
            "epochs": 2,
            "steps_per_epoch": 4,
            "batch_size": 16,
            "workers": 2,
            "cpus_per_worker": 0.5,
            "warmup_epochs": 0,
            "lr": 0.05,
            "log_every": 1,
            "checkpoint_every": 2,
        },
        "tracking": {"uri": tracking},
    }
