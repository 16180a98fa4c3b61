"""Measure how well the sample order mixes slides within a batch, compared with a full shuffle of the same patches.

`python -m wsc_ray.stream.mixing --window 16` measures an imaginary cohort whose patches lie as `manifest import` lays
them out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from wsc_ray.random import permutation
from wsc_ray.stream.class_order import ClassOrder, equal_sources, whole_groups
from wsc_ray.stream.order import PURE, Geometry, epoch_steps, window_picks


def measure_mixing(
    geometry: Geometry, class_order: ClassOrder, slides: ClassOrder, *, kind: int = PURE, epoch: int = 0
) -> dict[str, float]:
    """Return statistics of the slides in a class's half of a batch, as means over the steps of an epoch.

    Args:
        class_order: the order of the class.
        slides: the same row groups, as runs whose sources are slides.

    Returns:
        `slides`: number of different slides in a batch. `largest_share`: share of a batch's patches that come from its
        most frequent slide. `shuffled_slides`, `shuffled_largest_share`: the same for the epoch's patches, fully
        shuffled. `ratio`: `slides` / `shuffled_slides`.
    """
    steps = [
        _slides_of(picks, slides)
        for window in range(geometry.windows)
        for picks in window_picks(geometry, class_order, kind, epoch, window, range(geometry.shards))
    ]
    return mixing_of(steps, seed=geometry.seed)


def mixing_of(steps: Sequence[np.ndarray], *, seed: int) -> dict[str, float]:
    """Return the statistics of `measure_mixing` for batches of any source.

    Args:
        steps: for each batch the slide of each patch, (n,) int64.
        seed: seed of the full shuffle.
    """
    drawn = np.concatenate(steps)
    shuffled = np.split(drawn[permutation(len(drawn), seed)], np.cumsum([len(step) for step in steps])[:-1])
    measured = _describe(steps)
    expected = _describe(shuffled)
    return {
        **measured,
        **{f"shuffled_{name}": value for name, value in expected.items()},
        "ratio": measured["slides"] / expected["slides"],
    }


def imaginary_runs(slides: int, patches: int, row_group_rows: int) -> ClassOrder:
    """Return a class of slides of the same size, one after the other in full row groups; its sources are the slides."""
    total = slides * patches
    edges = np.unique(np.concatenate([np.arange(0, total, patches), np.arange(0, total, row_group_rows)]))
    slide = edges // patches
    rows = np.diff(edges, append=total)
    return equal_sources(edges // row_group_rows, edges % row_group_rows, rows, slide, slide)


def _slides_of(picks: np.ndarray, slides: ClassOrder) -> np.ndarray:
    """Return the slide of each (row group, row), (n,)."""
    width = int((slides.start + slides.rows).max())  # no row number reaches it, so that keys sort by group, then row
    keys = slides.group * width + slides.start
    order = np.argsort(keys)
    return slides.source[order[np.searchsorted(keys[order], picks[:, 0] * width + picks[:, 1], side="right") - 1]]


def _describe(steps: Sequence[np.ndarray]) -> dict[str, float]:
    counts = [np.unique(step, return_counts=True)[1] for step in steps]
    return {
        "slides": float(np.mean([len(count) for count in counts])),
        "largest_share": float(np.mean([count.max() / count.sum() for count in counts])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "window": 16,
        "batch_size": 512,
        "shards": 64,
        "slides": 270,
        "patches": 4000,
        "row_group_rows": 128,
    }.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    arguments = parser.parse_args()
    slides = imaginary_runs(arguments.slides, arguments.patches, arguments.row_group_rows)
    class_order = whole_groups(np.bincount(slides.group, weights=slides.rows))
    steps, rest = epoch_steps(class_order.total, arguments.batch_size // 2)
    geometry = Geometry(
        seed=0,
        sampling="epoch",
        batch_size=arguments.batch_size,
        shards=arguments.shards,
        steps=steps,
        window=arguments.window,
        rest=rest,
    )
    for name, value in measure_mixing(geometry, class_order, slides).items():
        print(f"{name:24} {value:.3f}")


if __name__ == "__main__":
    main()
