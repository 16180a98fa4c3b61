"""`python -m benchmarks.tissue`: seconds of one CPU core that finding the tissue of a slide takes, once its small picture has been read."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.command_line import Comparison
from wsc_ray.bench.environment import commit, cpu_model, versions
from wsc_ray.bench.markdown import table
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.picture import MPP, small_picture
from wsc_ray.slides.scale import level0_mpp
from wsc_ray.slides.tissue import find_tissue

DRAWN = (3125, 2500)  # px: a slide of 25 x 20 mm
GLASS, PINK, NUCLEUS, PEN = (243, 242, 240), (222, 150, 190), (90, 50, 130), (30, 60, 200)


def drawn_picture(seed: int = 0) -> np.ndarray:
    """Return a drawn picture of `DRAWN` px, (h, w, 3) uint8, RGB: four pieces of tissue with nuclei on glass, and a stroke of a pen."""
    rng = np.random.default_rng(seed)
    width, height = DRAWN
    picture = np.full((height, width, 3), GLASS, np.uint8)
    pieces = np.zeros((height, width), np.uint8)
    for x, y in ((0.25, 0.3), (0.7, 0.3), (0.3, 0.75), (0.75, 0.7)):
        cv2.ellipse(
            pieces, (int(x * width), int(y * height)), (500, 380), float(rng.uniform(0, 180)), 0, 360, 1, cv2.FILLED
        )
    picture[pieces == 1] = PINK
    picture[(pieces == 1) & (rng.random(pieces.shape) < 0.1)] = NUCLEUS
    cv2.line(picture, (100, 100), (900, 250), PEN, 25)
    noise = rng.integers(-6, 7, picture.shape, dtype=np.int16)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def picture_of_file(path: Path) -> np.ndarray:
    """Return the small picture on which `tile` looks for the tissue of a slide.

    Raises:
        DataError: the slide cannot be read, or its scale is not known.
    """
    with contextlib.closing(open_slide(path, "openslide")) as slide:
        return small_picture(slide, level0_mpp(slide.mpp, None))[0]


def cpu_seconds(picture: np.ndarray, rounds: int) -> float:
    """Return the median CPU seconds of `find_tissue` on one thread."""
    find_tissue(picture)  # the first call loads tables
    samples = []
    for _ in range(rounds):
        started = time.process_time()
        find_tissue(picture)
        samples.append(time.process_time() - started)
    return statistics.median(samples)


@click.command("python -m benchmarks.tissue", cls=Comparison)
@click.option(
    "--slide", "slides", multiple=True, metavar="FILE", help="A slide to measure beside the drawn one; repeatable."
)
@click.option(
    "--rounds", default=9, show_default=True, type=click.IntRange(1, 1000), help="Calls, of which the median counts."
)
def main(slides: tuple[str, ...], rounds: int) -> None:
    """Measure CPU seconds of finding tissue on the small picture of a slide."""
    cv2.setNumThreads(1)
    pictures = {f"drawn, {DRAWN[0] * MPP / 1000:g} x {DRAWN[1] * MPP / 1000:g} mm": drawn_picture()}
    pictures |= {Path(path).name: picture_of_file(Path(path)) for path in slides}
    rows = [
        [name, f"{picture.shape[1]:,} x {picture.shape[0]:,}", f"{cpu_seconds(picture, rounds):.3f}"]
        for name, picture in pictures.items()
    ]
    click.echo(table(["slide", "picture, px", "CPU seconds"], rows))
    known = ", ".join(f"{name} {version}" for name, version in versions(["opencv-python-headless", "numpy"]).items())
    click.echo(f"\n{cpu_model()}, one thread; {known}; commit {commit()}")


if __name__ == "__main__":
    main()
