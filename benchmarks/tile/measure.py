"""Measuring every contender in rounds on one core, and the memory of ours on slides of several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2

from benchmarks.crew import run_crew
from benchmarks.memory import peak_of
from benchmarks.tile.contenders import LOOP, STORED, Corners, contenders
from wsc_ray.bench.rounds import rotations
from wsc_ray.slides.grid import grid
from wsc_ray.slides.opening import open_slide


class Sample(NamedTuple):
    """Patches a second of this process's CPU time, and of the wall clock."""

    cpu: float
    wall: float


def measure_slide(
    path: Path, size: int, most: int, rounds: int, progress: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Samples of each contender, one a round, after a round that is left out.

    Args:
        size: of a patch, px of level 0.
        most: patches, whole rows of the grid from its middle.
    """
    cv2.setNumThreads(1)
    corners = corners_of(path, size, most)
    ways = contenders()
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    bytes_of: dict[str, int] = {}
    for order in rotations(list(ways), 1 + rounds):
        for name in order:
            cpu, wall = time.process_time(), time.perf_counter()
            bytes_of[name] = ways[name](path, corners, size)
            samples[name].append(
                Sample(len(corners) / (time.process_time() - cpu), len(corners) / (time.perf_counter() - wall))
            )
            progress(name)
    if bytes_of[LOOP] != bytes_of[STORED]:
        raise AssertionError(f"the patches of {path.name} are not the same: {bytes_of}")
    return {name: found[1:] for name, found in samples.items()}


def corners_of(path: Path, size: int, most: int) -> list[tuple[int, int]]:
    """Corners of patches without overlap: whole rows around the slide's middle, about `most` in all and a row at least."""
    slide = open_slide(path, "openslide")
    corners = [(int(x), int(y)) for x, y in grid(slide.scanned, size, size)]
    slide.close()
    rows = sorted({y for _, y in corners})
    across = len(corners) // len(rows)
    wanted = min(len(rows), max(1, most // across))
    first = (len(rows) - wanted) // 2
    kept = set(rows[first : first + wanted])
    return [corner for corner in corners if corner[1] in kept]


def peak_memory(path: Path, size: int) -> int:
    """Bytes that cutting the whole slide takes at its peak in a fresh process, above what was there before."""
    (peak,) = run_crew(_peak, path, size, processes=1, threads=1)
    return peak


def _peak(rank: int, path: Path, size: int) -> int:
    cv2.setNumThreads(1)
    corners: Sequence[tuple[int, int]] = corners_of(path, size, 10**9)
    cut = contenders()[STORED]
    few: Corners = corners[:4]
    cut(path, few, size)  # imports what it needs
    return peak_of(lambda: cut(path, corners, size)).extra
