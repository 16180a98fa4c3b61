"""`wsc-ray manifest import`: make a manifest for streaming from a user's table or lists of image files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import fs

from wsc_ray.cohort import write_cohort
from wsc_ray.errors import ManifestError
from wsc_ray.files import write_summary
from wsc_ray.manifest import footers, write
from wsc_ray.manifest.counts import count
from wsc_ray.manifest.lists import PatchList, read_lists
from wsc_ray.manifest.pixels import Images
from wsc_ray.manifest.problems import Codes, encode, find_problems
from wsc_ray.manifest.publish import new_folder, refuse_taken
from wsc_ray.manifest.schema import SLIDE_COLUMNS, conform, schema_for
from wsc_ray.manifest.slides_of_rows import slides_of_rows
from wsc_ray.manifest.tables import Source, raise_problems, read_table
from wsc_ray.pixels import Unreadable, to_image
from wsc_ray.progress import Progress
from wsc_ray.storage import as_path, child


def import_manifest(
    *,
    source: str | Path,
    out: str | Path,
    lists: Sequence[PatchList | str] = (),
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    label_names: Mapping[str, str] | None = None,
    format: Literal["parquet", "csv"] | None = None,
    link: bool = False,
    row_group_rows: int = write.ROW_GROUP_ROWS,
    file_rows: int = write.FILE_ROWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a manifest: `<out>/patches/part-*.parquet`, `<out>/slides.parquet` and `<out>/summary.json`.

    Patches are ordered by split, slide label and slide (shuffled by `seed`), then as in the source, so that a row group
    has one split and one label. Facts of a slide are written to `slides.parquet` only. All metadata is held in memory,
    and the images of one file at a time.

    Args:
        source: a Parquet file or folder, or a CSV or TSV file; with `lists`, the folder where their paths start.
        out: a new folder, or a URI. It appears whole at the end (on an object store, its files appear one by one).
        lists: lists of image files, see `wsc_ray.manifest.lists`.
        columns: manifest column -> source column, where the names differ.
        constants: manifest column -> one value for all rows.
        label_names: slide label in the source -> in the manifest; when given, it must name every label.
        format: format of `source`; by default the one that its name shows.
        link: keep `image_uri` instead of putting the images' bytes into the manifest.
        row_group_rows: most rows of a row group, which streaming reads as a whole.
        file_rows: most rows of a file.
        seed: seed of the order of slides.

    Returns:
        The content of `summary.json`: counts by split and label, the digest, the URI of the patches.

    Raises:
        ManifestError: the source cannot be read or has problems; all problems are listed and name rows, from 0.
        RunFolderError: `out` is not empty.
    """
    source, out = str(source), str(out)
    columns, constants, label_names = dict(columns or {}), dict(constants or {}), dict(label_names or {})
    if not 1 <= row_group_rows <= file_rows:
        raise ManifestError(
            f"row_group_rows is {row_group_rows} and file_rows {file_rows}; give 1 or more, and file_rows the larger"
        )
    refuse_taken(out)
    if lists:
        entries = [PatchList.parse(entry) if isinstance(entry, str) else entry for entry in lists]
        read = read_lists(source, entries, columns=columns, constants=constants, label_names=label_names)
    else:
        read = read_table(source, format=format, columns=columns, constants=constants, label_names=label_names)
    # Where no column gives the patch size, it is taken from the images while they are written.
    raise_problems(
        source,
        find_problems(
            read.table, columns=[*read.table.column_names, read.pixels, *(["patch_size"] if read.images else [])]
        ),
    )
    slide, label, split = (encode(read.table[name]) for name in ("slide_id", "label", "split"))
    order = write.order_rows(split, label, slide, seed)
    groups = write.divide(split.codes[order], label.codes[order], row_group_rows)
    values = {"command": "manifest import", "manifest": out, "patches_uri": child(out, footers.PATCHES)}
    slides = slides_of_rows(read.table)
    with new_folder(out) as (filesystem, folder):
        digests = _write_files(read, order, write.pack(groups, file_rows), filesystem, folder, link)
        place = Path(folder) if isinstance(filesystem, fs.LocalFileSystem) else as_path(out)
        cohort = write_cohort(place, slides)
        values |= count(cohort, _patches(slide)) | {
            "pixels": "image" if _embeds(read, link) else read.pixels,
            "files": len(digests),
            "row_groups": len(groups),
            "digest": footers.join_digests(digests),
            "cohort_digest": cohort.digest(),
            "notes": list(read.notes),
        }
        write_summary(place, values["command"], values)
    return values


def _write_files(
    read: Source, order: np.ndarray, files: list[list[write.Span]], filesystem: fs.FileSystem, folder: str, link: bool
) -> list[str]:
    """Write the manifest's files and return their digests."""
    embedded = read.images if _embeds(read, link) else None
    names = [name for name in read.table.column_names if name not in {"image_uri", *SLIDE_COLUMNS[1:]}]
    schema = schema_for([*names, "patch_size", "image" if embedded is not None else read.pixels])
    filesystem.create_dir(f"{folder}/{footers.PATCHES}", recursive=True)
    sizes: dict[str, int] = {}  # slide -> patch size, where the source has none
    digests = []
    with Progress("manifest import", len(order), unit="patches") as progress:
        for number, spans in enumerate(files):
            tables = _groups(read, order, spans, schema, embedded, sizes, progress)
            path = f"{folder}/{footers.PATCHES}/{write.file_name(number)}"
            digests.append(write.write_file(filesystem, path, schema, tables, part=number + 1, parts=len(files)))
    return digests


def _groups(
    read: Source,
    order: np.ndarray,
    spans: list[write.Span],
    schema: pa.Schema,
    embedded: Images | None,
    sizes: dict[str, int],
    progress: Progress,
) -> Iterator[pa.Table]:
    """Yield the row groups of one file, with the images of `embedded` in them."""
    first = spans[0][0]
    rows = order[first : spans[-1][1]]
    images = None if embedded is None else embedded.read(rows, progress.advance)
    for start, stop in spans:
        here = order[start:stop]
        table = read.table.drop_columns(set(SLIDE_COLUMNS[1:]) & set(read.table.column_names)).take(pa.array(here))
        if read.pixels == "image_uri" and embedded is None:
            table = _absolute(table, read.folder)
        if images is not None:
            table = table.append_column("image", pa.array(images[start - first : stop - first], pa.binary()))
        if "patch_size" not in table.column_names:
            table = table.append_column("patch_size", pa.array(_patch_sizes(read, table, here, sizes), pa.int32()))
        yield conform(table).select(schema.names)
        if embedded is None:
            progress.advance(stop - start)


def _patch_sizes(read: Source, table: pa.Table, rows: np.ndarray, sizes: dict[str, int]) -> list[int]:
    """Return, for each row, the width of the first image of its slide, px."""
    slides = table["slide_id"].to_pylist()
    for place, slide in enumerate(slides):
        if slide not in sizes:
            if "image" in table.column_names:
                data = table["image"][place].as_py()
            else:
                assert read.images is not None  # a source without images must have a column of patch sizes
                data = read.images.read(rows[place : place + 1])[0]
            image = to_image(data)
            if isinstance(image, Unreadable):
                raise ManifestError(
                    f"row {rows[place]} (slide {slide}), whose size becomes the slide's patch_size: {image.reason}"
                )
            sizes[slide] = image.shape[1]
    return [sizes[slide] for slide in slides]


def _patches(slide: Codes) -> dict[str, int]:
    """Return the number of rows of each slide."""
    return dict(zip(slide.names, np.bincount(slide.codes, minlength=len(slide.names)).tolist(), strict=True))


def _absolute(table: pa.Table, folder: str) -> pa.Table:
    """Return the table with image URIs that do not depend on the source's folder."""
    base = folder if "://" in folder else str(Path(folder).expanduser().absolute())
    uris = [uri if "://" in uri or uri.startswith("/") else child(base, uri) for uri in table["image_uri"].to_pylist()]
    return table.set_column(table.column_names.index("image_uri"), "image_uri", pa.array(uris))


def _embeds(read: Source, link: bool) -> bool:
    return read.pixels == "image" or (read.pixels == "image_uri" and not link)
