"""Read a Parquet or CSV table as a source to import: its metadata into memory, its images later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wsc_ray import storage
from wsc_ray.cohort import Cohort
from wsc_ray.cohort.tables import is_text_table, read_header, read_text_table
from wsc_ray.errors import ManifestError
from wsc_ray.manifest.mapping import build_table, choose_columns
from wsc_ray.manifest.pixels import Images, ParquetImages, UriImages
from wsc_ray.manifest.read import Manifest, open_any
from wsc_ray.manifest.schema import PIXELS

_THREADS = 8


@dataclass(frozen=True)
class Source:
    """The source of a manifest.

    Attributes:
        table: the manifest's columns without image bytes, one row for each patch; `patch_size` may be missing.
        pixels: the column of the pixels: `image`, `image_uri` or `slide_uri`.
        images: reads the images; None for regions of slides.
        folder: the folder where relative URIs start.
        notes: sentences for the user about the import.
    """

    table: pa.Table
    pixels: str
    images: Images | None
    folder: str
    notes: tuple[str, ...] = ()


def read_table(
    source: str,
    *,
    format: Literal["parquet", "csv"] | None,
    columns: Mapping[str, str],
    constants: Mapping[str, Any],
    label_names: Mapping[str, str],
) -> Source:
    """Read a table's metadata; see `import_manifest` for the arguments.

    Raises:
        ManifestError: the table cannot be read, or columns or values are wrong; all problems are listed.
    """
    kind = format or ("csv" if is_text_table(source) else "parquet")
    if kind == "csv":
        names = read_header(source)
        # A CSV holds no bytes: its column `image`, if any, is not the manifest's column of images.
        available = [name for name in names if name and (name != "image" or "image" in columns.values())]
    else:
        opened = open_any(source, statistics=False)
        cohort = opened.cohort() if not opened.rows_describe_slides else None
        available = list(opened.file_footers[0].columns)
        available += [name for name in cohort.slides.column_names if name not in available] if cohort else []
    images = _has_images(available, columns)
    optional = ["patch_size"] if images else []
    chosen, problems = choose_columns(available, columns, constants, optional)
    if kind == "csv" and "image" in columns:
        problems.append("`image`: a CSV holds no image bytes; give the column of paths or URIs as `image_uri`")
    embedded = (
        ParquetImages(opened, chosen["image"]) if kind == "parquet" and chosen.get("image") in available else None
    )
    if embedded is not None and (wrong := embedded.problem()):
        problems.append(wrong)
    raise_problems(source, problems)
    pixels = next(name for name in PIXELS.names if name in chosen)
    wanted = {name: column for name, column in chosen.items() if name != "image"}
    if kind == "csv":
        read = read_text_table(source, columns=sorted(set(wanted.values())))
        values = {name: read.columns[column] for name, column in wanted.items()}
        folder = storage.parent(source)
    else:
        values = _read_parquet(opened, wanted, cohort)
        folder = opened.folder
    rows = len(next(iter(values.values()))) if values else 0
    table, problems = build_table(values, rows, constants, label_names)
    raise_problems(source, problems)
    if pixels == "image":
        reader: Images | None = embedded
    elif pixels == "image_uri":
        reader = UriImages(table["image_uri"].to_pylist(), folder, lambda row: f"row {row} of {source}")
    else:
        reader = None
    return Source(table, pixels, reader, folder)


def _has_images(available: Sequence[str], columns: Mapping[str, str]) -> bool:
    named = [name for name in PIXELS.names if name in columns] or [name for name in PIXELS.names if name in available]
    return bool(named) and named[0] != "slide_uri"


def _read_parquet(opened: Manifest, wanted: Mapping[str, str], cohort: Cohort | None) -> dict[str, pa.ChunkedArray]:
    """Return manifest name -> values; columns of the cohort are repeated for the patches of each slide."""
    own = set(opened.file_footers[0].columns)
    names = sorted({*wanted.values()} & own | ({"slide_id"} if cohort else set()))

    def one(path: str) -> pa.Table:
        try:
            with pq.ParquetFile(path, filesystem=opened.filesystem, pre_buffer=True) as file:
                return file.read(columns=names, use_threads=False).select(names)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise ManifestError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None

    with ThreadPoolExecutor(_THREADS) as pool:
        tables = list(pool.map(one, opened.files))
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ManifestError(f"the files of {opened.uri} do not fit together: {str(error).splitlines()[0]}") from None
    values = {name: table[column] for name, column in wanted.items() if column in own}
    if cohort is not None:
        try:
            ids = table["slide_id"].cast(pa.string())
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise ManifestError(f"the column slide_id of {opened.uri} cannot be read as text: {reason}") from None
        places = pc.index_in(ids, cohort.slides["slide_id"].combine_chunks())
        values |= {name: cohort.slides[column].take(places) for name, column in wanted.items() if column not in own}
    return values


def raise_problems(source: str, problems: Sequence[str]) -> None:
    """Raise one `ManifestError` that lists all `problems`, if there are any."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ManifestError(
            f"{source} cannot be imported: {count}\n" + "\n".join(f"  {problem}" for problem in problems)
        )
