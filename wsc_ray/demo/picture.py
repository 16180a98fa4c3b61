"""What an encoder makes of normal and tumour patches: a measure that needs no patch label to score, and the demo's picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsc_ray.features.store import read_slide, read_slides
from wsc_ray.files import atomic
from wsc_ray.mil.auroc import auroc

PICTURE = "patches.png"
_NORMAL, _BESIDE, _TUMOUR = "#c4c4c4", "#6f9cc6", "#c0392b"
_EDGE = 0.5  # percent of the patches at each side that the picture's axes may cut off


@dataclass(frozen=True, eq=False)
class TestPatches:
    """The patches of test slides, and what normal training patches look like.

    Attributes:
        features: (n, d).
        tumour: (n,) bool.
        positive: (n,) bool, whether the patch's slide is positive.
        centre, spread: (d,), mean and standard deviation of the features of negative training slides.
    """

    features: np.ndarray
    tumour: np.ndarray
    positive: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    @property
    def width(self) -> int:
        return self.features.shape[1]

    def distances(self) -> np.ndarray:
        """Return how far each patch is from normal tissue, (n,): squared, each feature in units of its spread."""
        return np.square((self.features - self.centre) / self.spread).sum(1)

    def distance_auroc(self) -> float:
        """Return how well that distance finds tumour patches, as AUROC. Slide labels alone gave it; patch labels only judge it."""
        return float(auroc(self.tumour, self.distances())[0])

    def plane(self) -> np.ndarray:
        """Return the patches in two dimensions, (n, 2): their two features, or their two first principal components."""
        if self.width == 2:
            return self.features
        x = (self.features - self.centre) / self.spread
        return x @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2].T


def read_test_patches(store: Path) -> TestPatches:
    """Return the test patches of a feature store of the demo's cohort."""
    slides = read_slides(store).slides.to_pylist()
    normal, features, tumour, positive = [], [], [], []
    for slide in slides:
        if slide["split"] == "train" and slide["label"] == "negative":
            normal.append(read_slide(store, slide["slide_id"]).features)
        elif slide["split"] == "test":
            found = read_slide(store, slide["slide_id"])
            assert found.patch_label is not None  # the demo's cohort has labels of patches
            features.append(found.features)
            tumour.append(found.patch_label == 1)
            positive.append(np.full(len(found.features), slide["label"] == "positive"))
    known = np.concatenate(normal)
    return TestPatches(
        features=np.concatenate(features),
        tumour=np.concatenate(tumour),
        positive=np.concatenate(positive),
        centre=known.mean(0),
        spread=known.std(0) + 1e-6,
    )


def draw(panels: Mapping[str, TestPatches], path: Path) -> None:
    """Draw the test patches of every encoder, a panel each, to a PNG picture.

    Args:
        panels: by title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(panels), 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, patches) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        plane = patches.plane()
        kinds = (
            (~patches.positive, _NORMAL, "normal, negative slides", 5),
            (patches.positive & ~patches.tumour, _BESIDE, "normal, positive slides", 5),
            (patches.tumour, _TUMOUR, "tumour", 14),
        )
        for rows, colour, label, size in kinds:
            axes.scatter(*plane[rows].T, s=size, c=colour, label=label, linewidths=0)
        low, high = np.percentile(plane, [_EDGE, 100 - _EDGE], axis=0)
        margin = 0.05 * (high - low)
        axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{title}\ndistance from normal finds tumour: {patches.distance_auroc():.2f}", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    with atomic(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")
