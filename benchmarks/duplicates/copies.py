"""Copies of slides under new patients, and how many of them the search for copies finds.

Some slides of a cohort are copied: unchanged, encoded again, mirrored, turned or shifted. The search runs once for each kind of copy, among
all slides, and once without copies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from wsc_ray.encoders import normalise_pixels
from wsc_ray.encoders.choose import choose_encoder
from wsc_ray.errors import DataError
from wsc_ray.features.fit import fit
from wsc_ray.neighbours.duplicates import COPY, find_copies, nearest_of_others
from wsc_ray.neighbours.vectors import PatchVectors, unit_vectors
from wsc_ray.pixels import decode
from wsc_ray.progress import Progress
from wsc_ray.random import permutation

COLUMNS = ("slide_id", "patient_id", "x", "y", "image")
SHIFT = 8  # px; all patches are cropped by this at the right and below, so that a shifted copy shows other pixels there
_SOME = 1  # keeps the random numbers that draw slides apart from those that choose what is copied
Encode = Callable[[list[np.ndarray]], np.ndarray]


def _again(image: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


ALTERATIONS: Mapping[
    str, Callable[[np.ndarray], np.ndarray]
] = {  # each takes a patch that is SHIFT px larger than the compared ones
    "same bytes": lambda image: image[:-SHIFT, :-SHIFT],
    "JPEG again, quality 70": lambda image: _again(image[:-SHIFT, :-SHIFT]),
    "mirrored left to right": lambda image: image[:-SHIFT, :-SHIFT][:, ::-1],
    "mirrored top to bottom": lambda image: image[:-SHIFT, :-SHIFT][::-1],
    "turned by 90 degrees": lambda image: np.rot90(image[:-SHIFT, :-SHIFT]),
    f"shifted by {SHIFT} px": lambda image: image[:-SHIFT, SHIFT:],
}
NONE = "none"


class Slide(NamedTuple):
    """A slide of n patches: `vectors` (n, D) float32 of length 1, `coords` (n, 2) int64."""

    patient: str
    name: str
    vectors: np.ndarray
    coords: np.ndarray


@dataclass(frozen=True)
class Found:
    """The result for one kind of copy.

    Attributes:
        slides: share of the copied slides that are named together with their copy.
        patches: share of their patches whose nearest patch is their own copy, at a chance that shows a copy by itself.
        wrong: number of pairs of slides that are named and are no copies.
    """

    slides: float
    patches: float
    wrong: int


def search_copies(table: pa.Table, encode: Encode, copies: int, seed: int) -> tuple[dict[str, Found], np.ndarray]:
    """Search for each kind of copy.

    Args:
        table: patches with the columns `COLUMNS`.
        copies: number of slides to copy; `seed` determines which.

    Returns:
        The results by kind of copy, `NONE` first; and the features of the patches that are there, (n, D) float32 of length 1.

    Raises:
        DataError: there are fewer slides than copies.
    """
    table = table.sort_by([("patient_id", "ascending"), ("slide_id", "ascending")])
    images = [decode(data) for data in table["image"].to_pylist()]
    names, first, sizes = np.unique(table["slide_id"].to_numpy(), return_index=True, return_counts=True)
    if len(names) < copies:
        raise DataError(f"the table has {len(names)} slides, fewer than the {copies} to copy")
    coords = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()]).astype(np.int64)
    owner = dict(zip(table["slide_id"].to_pylist(), table["patient_id"].to_pylist(), strict=True))
    rows_of = {name: range(start, start + size) for name, start, size in zip(names, first, sizes, strict=True)}
    whole = encode([ALTERATIONS["same bytes"](image) for image in images])
    slides = [Slide(owner[name], name, whole[rows_of[name]], coords[rows_of[name]]) for name in names]
    chosen = [names[place] for place in permutation(len(names), seed)[:copies]]
    copied = {f"copy of {name}": name for name in chosen}
    results = {NONE: look_for(slides, {})}
    for what, alter in ALTERATIONS.items():
        added = [
            Slide(
                f"patient of {copy}",
                copy,
                encode([alter(images[row]) for row in rows_of[name]]),
                coords[rows_of[name]],
            )
            for copy, name in copied.items()
        ]
        results[what] = look_for([*slides, *added], copied)
    return results, whole


def some_slides(table: pa.Table, count: int, seed: int) -> pa.Table:
    """Return the patches of `count` slides, drawn at random; of all where there are no more."""
    names = np.unique(table["slide_id"].to_numpy())
    chosen = [names[place] for place in permutation(len(names), seed, _SOME)[:count]]
    return table.filter(pc.is_in(table["slide_id"], pa.array(chosen)))


def make_encoder(name: str, size: int | None) -> Encode:
    """Return a function from images to unit vectors, (n, D) float32.

    Raises:
        WeightsError: the encoder cannot be read.
    """
    frozen = choose_encoder(name, size=size)
    model = frozen.load().to(memory_format=torch.channels_last)  # a CPU is about twice as fast so

    @torch.inference_mode()
    def encode(images: list[np.ndarray]) -> np.ndarray:
        found = []
        with Progress("encoding", len(images), unit="patches") as progress:
            for start in range(0, len(images), 64):
                some = [
                    fit(np.ascontiguousarray(each), frozen.size, frozen.interpolation)
                    for each in images[start : start + 64]
                ]
                pixels = normalise_pixels(torch.from_numpy(np.stack(some)), frozen.pixels)
                found.append(model(pixels.contiguous(memory_format=torch.channels_last)).numpy())
                progress.advance(len(some))
        return unit_vectors(np.concatenate(found), name)

    return encode


def look_for(slides: list[Slide], copied: Mapping[str, str]) -> Found:
    """Search for copies among all slides.

    Args:
        copied: copy -> its slide.
    """
    slides = sorted(slides, key=lambda slide: slide[:2])
    patches = PatchVectors(
        np.concatenate([slide.vectors for slide in slides]),
        np.concatenate([slide.coords for slide in slides]),
        np.cumsum([0, *(len(slide.vectors) for slide in slides)]),
        tuple(slide.name for slide in slides),
        tuple(slide.patient for slide in slides),
    )
    nearest, chance, _ = nearest_of_others(patches)
    named = {pair.slides for pair in find_copies(patches, nearest, chance)}
    true = {tuple(sorted(pair)) for pair in copied.items()}
    right = {pair for pair in named if tuple(sorted(pair)) in true}
    hits = [
        chance[row] < COPY and nearest[row] - patches.rows(name).start == row - patches.rows(copy).start
        for copy, name in copied.items()
        for row in patches.rows(copy)
    ]
    count = len(copied)
    return Found(len(right) / count if count else 0.0, float(np.mean(hits)) if hits else 0.0, len(named - right))
