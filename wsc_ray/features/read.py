"""Read a lot's patches ahead of the encoder, in threads: row groups, then images, with a limit on how far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from wsc_ray.errors import DataError
from wsc_ray.features.attributes import check_scale
from wsc_ray.features.augmented import Augmentation
from wsc_ray.features.lots import Lot, Part
from wsc_ray.manifest import Manifest
from wsc_ray.manifest.schema import OPTIONAL, REQUIRED
from wsc_ray.pixels import PixelSource, Unreadable
from wsc_ray.pixels.retry import read_all

PIECE = 32  # pictures that a thread makes at a time; a patch and each of its views are one each
_GROUPS_AHEAD = 4  # row groups to read ahead, since remote storage is slow to answer
_LARGE = 4096  # of row groups with more rows, which other tools write, only one is in memory

Fit = Callable[[np.ndarray], np.ndarray]
Rows = tuple[int, pa.Table]  # index into the lot's slides, and the rows of a piece
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Piece:
    """Neighbouring patches of one slide, at most `piece_size`.

    Attributes:
        slide: an index into the lot's slides.
        pixels: (n, s, s, 3) uint8.
        views: augmented views (n, K, s, s, 3) uint8; None without views.
        coords: (n, 2) int64, level-0 px.
        patch_label: (n,) int8, -1 where unknown; None where the manifest has none.
        first: the first patch's row without its pixels.
    """

    slide: int
    pixels: np.ndarray
    coords: np.ndarray
    patch_label: np.ndarray | None
    first: Mapping[str, Any]
    views: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class UnreadableSlide:
    """A slide of which a row group or an image cannot be read: an index into the lot's slides, and the reason."""

    slide: int
    reason: str


def piece_size(augmentation: Augmentation | None) -> int:
    """Return the most patches of a piece."""
    return PIECE if augmentation is None else max(1, PIECE // (1 + augmentation.views))


def read_lot(
    manifest: Manifest,
    lot: Lot,
    fit: Fit,
    *,
    threads: int,
    ahead: int,
    retries: int,
    augmentation: Augmentation | None = None,
    skip_bad: bool = False,
) -> Generator[Piece | UnreadableSlide, None, None]:
    """Yield every patch of a lot's slides, in the manifest's order; each row group is read once.

    Args:
        fit: resizes an image, (h, w, 3) uint8, to the encoder's input, (s, s, 3).
        threads: number of threads that decode.
        ahead: most pieces that are decoded, or being decoded, before they are taken.
        retries: number of retries where storage fails.
        augmentation: settings of the views; None: no views.
        skip_bad: yield an `UnreadableSlide` in place of patches that cannot be read.

    Raises:
        DataError: a row group or an image cannot be read, without `skip_bad`, since a slide's features must be complete; or a slide has
            patches of several scales.
    """
    names = [name for name in (*REQUIRED.names, *OPTIONAL.names) if name in manifest.columns]
    columns = [*names, manifest.pixels]

    scales: dict[int, set[float | None]] = {}  # of each slide, so far

    def read(part: Part) -> list[Rows | UnreadableSlide]:
        try:
            return _read_part(manifest, part, columns, retries, piece_size(augmentation))
        except DataError as error:
            if not skip_bad:
                raise
            return [UnreadableSlide(slide, str(error)) for slide in dict.fromkeys(slide for _, _, slide in part.runs)]

    def check(rows: Rows | UnreadableSlide) -> Rows | UnreadableSlide:
        if not isinstance(rows, UnreadableSlide) and "mpp" in names:
            slide, table = rows
            scales[slide] = scales.get(slide, set()) | set(table["mpp"].unique().to_pylist())
            check_scale(lot.slides[slide], scales[slide])
        return rows

    def load(rows: Rows | UnreadableSlide) -> Piece | UnreadableSlide:
        if isinstance(rows, UnreadableSlide):
            return rows
        slide, table = rows
        try:
            return _decode(manifest, slide, table, fit, retries, augmentation)
        except DataError as error:
            if not skip_bad:
                raise
            return UnreadableSlide(slide, str(error))

    large = any(sum(rows for _, rows, _ in part.runs) > _LARGE for part in lot.parts)
    with ThreadPoolExecutor(_GROUPS_AHEAD) as readers, ThreadPoolExecutor(threads) as decoders:
        tables = in_order(readers, read, lot.parts, 0 if large else _GROUPS_AHEAD)
        yield from in_order(decoders, load, (check(rows) for part in tables for rows in part), ahead)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield `map(function, items)`, computed by a pool of threads, at most `ahead` items before the one that is taken."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _read_part(
    manifest: Manifest, part: Part, columns: list[str], retries: int, size: int
) -> list[Rows | UnreadableSlide]:
    """Return the rows of a part as pieces of at most `size` rows.

    Raises:
        DataError: the row group cannot be read.
    """
    tables, failed = read_all(
        [part], lambda part: manifest.read_group(part.file, part.row_group, columns), retries, threads=1
    )
    for reason in failed.values():
        raise DataError(reason)
    return [
        (slide, tables[part].slice(start, min(size, first + rows - start)))
        for first, rows, slide in part.runs
        for start in range(first, first + rows, size)
    ]


def _decode(
    manifest: Manifest, slide: int, table: pa.Table, fit: Fit, retries: int, augmentation: Augmentation | None
) -> Piece:
    rows = table.to_pylist()
    pixels, views = [], []
    for row, image in zip(rows, _images(manifest, rows, retries), strict=True):
        pixels.append(fit(image))
        if augmentation is not None:
            views.append(augmentation.apply(image, len(pixels[-1]), row["slide_id"], row["x"], row["y"]))
    label = table["patch_label"].fill_null(-1).to_numpy() if "patch_label" in table.column_names else None
    coords = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    first = {name: value for name, value in rows[0].items() if name != manifest.pixels}
    return Piece(slide, np.stack(pixels), coords, label, first, np.stack(views) if views else None)


def _images(manifest: Manifest, rows: list[dict[str, Any]], retries: int) -> Iterator[np.ndarray]:
    """Yield each row's image, (h, w, 3) uint8.

    Raises:
        DataError: see `read_lot`.
    """
    # One thread, since several threads run this function.
    source = PixelSource(manifest.patch_columns, manifest.folder, retries=retries, threads=1)
    for row, image in zip(rows, source.read(rows), strict=True):
        if isinstance(image, Unreadable):
            raise DataError(f"slide {row['slide_id']}, x {row['x']}, y {row['y']}: {image.reason}")
        yield image
