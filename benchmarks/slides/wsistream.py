"""wsistream 0.1 (https://github.com/RamonKaspar/wsistream, MIT): its PyTorch dataset as its documentation shows it.

Its random sampler takes squares of level 0 anywhere in the tissue, from a pool of slides in turn. Where its defaults cost time, it has what is
faster: uint8 images, no filter of patches, and a cache of tissue masks that holds all slides.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.cost import Meter, cpu_seconds
from benchmarks.data.team import Round
from wsc_ray.slides.opening import open_slide

PER_SLIDE, POOL = 100, 8  # its defaults: patches of a slide until another takes its place, and slides that are open
AHEAD = 2  # batches of each worker that wait to be taken: the DataLoader's default
CHECKED = 32  # patches that are compared with ours
_REST, _IDLE = 0.5, 0.05  # seconds between two looks at the workers' CPU time, and what they take of it at rest


def installed() -> bool:
    """Whether wsistream can be imported."""
    return importlib.util.find_spec("wsistream") is not None


def stream_loader(
    slides: Sequence[Path], size: int, batch_size: int, workers: int, visit: int, *, seed: int, blind: bool = False
) -> torch.utils.data.DataLoader:
    """An endless DataLoader of batches: `image` (n, 3, size, size) uint8, `slide_path`, `x`, `y` and more.

    Args:
        size: side of a patch, px of level 0.
        workers: its processes, which share out the slides.
        visit: patches of a slide before the next one's turn.
        blind: read no patch, for their order alone; images are of one black px.
    """
    from wsistream.backends import OpenSlideBackend
    from wsistream.sampling import RandomSampler
    from wsistream.tissue import OtsuTissueDetector
    from wsistream.torch import WsiStreamDataset

    backend = OpenSlideBackend()
    if blind:
        backend = _blind(backend)
    data = WsiStreamDataset(
        slide_paths=[str(path) for path in slides],
        backend=backend,
        tissue_detector=OtsuTissueDetector(),
        sampler=RandomSampler(patch_size=size, num_patches=-1, level=0),
        pool_size=POOL,
        patches_per_slide=PER_SLIDE,
        patches_per_visit=visit,
        tissue_mask_cache_size=len(slides),
        output_dtype="uint8",
        seed=seed,
    )
    return torch.utils.data.DataLoader(
        data, batch_size=batch_size, num_workers=workers, prefetch_factor=AHEAD, multiprocessing_context="spawn"
    )


def prepare_wsistream(
    rank: int, slides: Sequence[Path], size: int, batch_size: int, workers: int, visit: int, batches: int
) -> Round:
    """A round of `batches`, for one process.

    Before the first round, every slide has been open, so that tissue is found in no round. Batches that wait at the
    beginning are not counted, and as many are made after the last. A round ends when all are made, so that workers do
    nothing while others are measured.

    Raises:
        AssertionError: a patch is not the one that OpenSlide reads at its place.
    """
    torch.set_num_threads(1)
    source = iter(stream_loader(slides, size, batch_size, workers, visit, seed=0))
    _check(next(source), size)
    for _ in range(workers + len(slides) * PER_SLIDE // batch_size):
        next(source)
    _until_idle()

    def do_round():
        meter = Meter()
        for _ in range(workers * AHEAD):
            next(source)
        meter.start()
        patches = sum(len(next(source)["image"]) for _ in range(batches))
        sample = meter.stop(patches)
        _until_idle()
        return sample

    return do_round


def slides_of_batches(
    slides: Sequence[Path], size: int, batch_size: int, workers: int, visit: int, batches: int
) -> list[np.ndarray]:
    """For each batch the slide of each patch, (n,) int64, an index into `slides`."""
    numbers = {str(path): number for number, path in enumerate(slides)}
    source = iter(stream_loader(slides, size, batch_size, workers, visit, seed=0, blind=True))
    return [np.array([numbers[path] for path in next(source)["slide_path"]]) for _ in range(batches)]


def _blind(backend: Any) -> Any:
    backend.read_region = _black
    return backend


def _black(x: int, y: int, level: int, width: int, height: int) -> np.ndarray:
    return np.zeros((1, 1, 3), np.uint8)


def _check(batch: dict[str, Any], size: int) -> None:
    for image, path, x, y in list(zip(batch["image"], batch["slide_path"], batch["x"], batch["y"], strict=True))[
        :CHECKED
    ]:
        slide = open_slide(Path(path), "stored-tiles")
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), slide.read(int(x), int(y), 0, size, size))
        slide.close()


def _until_idle() -> None:
    before = -1.0
    while (now := cpu_seconds(os.getpid())) - before > _IDLE:
        before = now
        time.sleep(_REST)
