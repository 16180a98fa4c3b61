"""The file and row of every patch, determined by the grids alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from wsc_ray.manifest.problems import encode
from wsc_ray.manifest.schema import conform, hash_rows
from wsc_ray.manifest.write import Span, divide, order_rows, pack
from wsc_ray.slides.listing import Entry
from wsc_ray.slides.slide_grid import SlideGrid


@dataclass(frozen=True)
class Layout:
    """The layout of a manifest.

    Attributes:
        table: the manifest's columns without pixels, one row per patch, in the order of writing.
        slide: for each row the index of its slide and grid in the `pairs` of `lay_out`, (n,) int64.
        files: for each file the spans of rows of its row groups.
    """

    table: pa.Table
    slide: np.ndarray
    files: list[list[Span]]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the rows and their division into files and row groups."""
        digest = hashlib.sha256(repr(self.files).encode())
        for spans in self.files:
            first, last = spans[0][0], spans[-1][1]
            hash_rows(digest, conform(self.table.slice(first, last - first)))
        return digest.hexdigest()


def lay_out(pairs: Sequence[tuple[Entry, SlideGrid]], *, row_group_rows: int, file_rows: int, seed: int) -> Layout:
    """Return the layout, in the order of `wsc_ray.manifest.write`: by split, label and slide; inside a slide by scale, then row by row.

    Args:
        pairs: slides and their grids at one scale; the grids of a slide are neighbours. Grids may be empty.
    """
    entries, looked = [entry for entry, _ in pairs], [grid for _, grid in pairs]
    counts = [len(each.coords) for each in looked]
    slide = np.repeat(np.arange(len(entries)), counts)
    coords = np.concatenate([each.coords for each in looked]) if looked else np.empty((0, 2), np.int64)
    columns = {"slide_id": _of_slide([entry.slide_id for entry in entries], slide)}
    scales = [each.scale for each in looked]
    columns |= {
        "x": pa.array(coords[:, 0]),
        "y": pa.array(coords[:, 1]),
        **{
            name: pa.array(np.array([default if scale is None else value(scale) for scale in scales])[slide])
            for name, default, value in (
                ("patch_size", 0, lambda scale: scale.size),
                ("patch_size_level0", 0, lambda scale: round(scale.size_level0)),
                ("level", 0, lambda scale: scale.level),
                ("mpp", 0.0, lambda scale: scale.mpp),
            )
        },
    }
    table = pa.table(columns)
    split, label = (encode(_of_slide([getattr(e, name) or "" for e in entries], slide)) for name in ("split", "label"))
    of = encode(table["slide_id"])
    order = order_rows(split, label, of, seed)
    groups = divide(split.codes[order], label.codes[order], row_group_rows)
    return Layout(table.take(pa.array(order)), slide[order], pack(groups, file_rows))


def _of_slide(values: list[str], slide: np.ndarray) -> pa.DictionaryArray:
    names = pa.array(values, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(names.indices.take(pa.array(slide, pa.int32())), names.dictionary)
