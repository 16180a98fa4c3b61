"""`python -m benchmarks.duplicates`: how many copied slides `manifest check --features` finds, and how many slides it names wrongly.

Some slides of a cohort are copied under new patients: unchanged, encoded again, mirrored, turned or shifted. The search runs once for
each kind of copy, among all slides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.command_line import Comparison
from wsc_ray.bench.environment import commit, cpu_model, versions
from wsc_ray.encoders import normalise_pixels
from wsc_ray.encoders.choose import choose_encoder
from wsc_ray.errors import DataError
from wsc_ray.features.fit import fit
from wsc_ray.neighbours.duplicates import ALIKE, COPY, find_copies, nearest_of_others
from wsc_ray.neighbours.vectors import PatchVectors, unit_vectors
from wsc_ray.pixels import decode
from wsc_ray.progress import Progress
from wsc_ray.random import permutation

SHIFT = 8  # px; all patches are cropped by this at the right and below, so that a shifted copy shows other pixels there
Encode = Callable[[list[np.ndarray]], np.ndarray]


def _again(image: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


ALTERATIONS: Mapping[
    str, Callable[[np.ndarray], np.ndarray]
] = {  # each takes a patch that is SHIFT px larger than the compared ones
    "as it is": lambda image: image[:-SHIFT, :-SHIFT],
    "JPEG again, quality 70": lambda image: _again(image[:-SHIFT, :-SHIFT]),
    "mirrored left to right": lambda image: image[:-SHIFT, :-SHIFT][:, ::-1],
    "mirrored top to bottom": lambda image: image[:-SHIFT, :-SHIFT][::-1],
    "turned by 90 degrees": lambda image: np.rot90(image[:-SHIFT, :-SHIFT]),
    f"shifted by {SHIFT} px": lambda image: image[:-SHIFT, SHIFT:],
}


@dataclass(frozen=True)
class Found:
    """The result for one kind of copy: the shares of copied slides and patches that were found, and what was named wrongly."""

    slides: float
    patches: float
    wrong_pairs: int


@click.command("python -m benchmarks.duplicates", cls=Comparison)
@click.argument("patches", metavar="TABLE")
@click.option("--encoder", required=True, metavar="ENCODER", help="Encoder, as `wsc-ray embed --encoder` takes it.")
@click.option("--copies", default=64, show_default=True, help="Slides to copy.")
@click.option("--seed", default=0, show_default=True, help="Seed of the slides to copy.")
@click.option("--markdown", metavar="FILE", help="File for the page.")
def main(patches: str, encoder: str, copies: int, seed: int, markdown: str | None) -> None:
    """Add copies of slides to a table with the columns slide_id, patient_id, x, y and image, and search for them."""
    table = pq.read_table(patches, columns=["slide_id", "patient_id", "x", "y", "image"]).sort_by(
        [("patient_id", "ascending"), ("slide_id", "ascending")]
    )
    images = [decode(data) for data in table["image"].to_pylist()]
    encode = _encoder(encoder)
    names, first, sizes = np.unique(table["slide_id"].to_numpy(), return_index=True, return_counts=True)
    if len(names) < copies:
        raise DataError(f"{patches} has {len(names)} slides, fewer than the {copies} to copy")
    coords = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    owner = dict(zip(table["slide_id"].to_pylist(), table["patient_id"].to_pylist(), strict=True))
    chosen = [names[place] for place in permutation(len(names), seed)[:copies]]
    rows_of = {name: range(start, start + size) for name, start, size in zip(names, first, sizes, strict=True)}
    own = encode([ALTERATIONS["as it is"](image) for image in images])
    slides = [(owner[name], name, own[rows_of[name]], coords[rows_of[name]]) for name in names]
    lines = [_line("none (what is named wrongly)", _look_for(slides, {}))]
    for what, alter in ALTERATIONS.items():
        copied = {f"copy of {name}": name for name in chosen}
        added = [
            (f"patient of {copy}", copy, encode([alter(images[row]) for row in rows_of[name]]), coords[rows_of[name]])
            for copy, name in copied.items()
        ]
        lines.append(_line(what, _look_for([*slides, *added], copied)))
    page = _page(lines, patches, encoder, copies, seed, len(images), len(names))
    if markdown:
        Path(markdown).write_text(page)
    click.echo(page)


def _encoder(name: str) -> Encode:
    frozen = choose_encoder(name)
    model = frozen.load()

    @torch.inference_mode()
    def encode(images: list[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, D) of images."""
        found = []
        with Progress("encoding", len(images), unit="patches") as progress:
            for start in range(0, len(images), 64):
                some = [
                    fit(np.ascontiguousarray(each), frozen.size, frozen.interpolation)
                    for each in images[start : start + 64]
                ]
                found.append(model(normalise_pixels(torch.from_numpy(np.stack(some)), frozen.pixels)).numpy())
                progress.advance(len(some))
        return unit_vectors(np.concatenate(found), name)

    return encode


def _look_for(slides: list[tuple[str, str, np.ndarray, np.ndarray]], copied: dict[str, str]) -> Found:
    """
    Args:
        slides: patient, slide, vectors (n, D), coords (n, 2).
        copied: copy -> its slide.
    """
    slides = sorted(slides, key=lambda slide: slide[:2])
    patches = PatchVectors(
        np.concatenate([slide[2] for slide in slides]),
        np.concatenate([slide[3] for slide in slides]),
        np.cumsum([0, *(len(slide[2]) for slide in slides)]),
        tuple(slide[1] for slide in slides),
        tuple(slide[0] for slide in slides),
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


def _line(what: str, found: Found) -> str:
    shares = ("-", "-") if what.startswith("none") else (f"{found.slides:.1%}", f"{found.patches:.1%}")
    return f"| {what} | {shares[0]} | {shares[1]} | {found.wrong_pairs} |"


def _page(lines: list[str], patches: str, encoder: str, copies: int, seed: int, count: int, slides: int) -> str:
    told = ", ".join(f"{name} {version}" for name, version in versions(["faiss-cpu", "torch", "timm"]).items())
    return "\n".join(
        [
            "# Copies of slides, found by their features",
            "",
            "What `wsc-ray manifest check MANIFEST --features DIR` finds, on a cohort in which some slides were copied under new patients: see",
            f"`wsc_ray/neighbours/duplicates.py` for the rule (a patch is a copy at a chance below {COPY:g}; several below {ALIKE:g} make a pair of slides).",
            "",
            f"`python -m benchmarks.duplicates {patches} --encoder {encoder} --copies {copies} --seed {seed}`, commit {(commit() or '?')[:12]},",
            f"{cpu_model()}, {told}. {count:,} patches of {slides:,} slides; {copies} slides copied, each kind of copy looked for by itself.",
            "",
            "| copy | slides found | patches found by themselves | pairs named that are no copies |",
            "| --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
