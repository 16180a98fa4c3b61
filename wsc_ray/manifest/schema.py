"""The manifest's Parquet schema: one row for each patch, with its pixels or their place.

| column | type | meaning |
| --- | --- | --- |
| slide_id | string | fit to be a file name; facts of the slide are in `slides.parquet`, see `wsc_ray.cohort` |
| x, y | int64 | upper left corner, px at level 0 of the slide |
| patch_size | int32 | side of the patch, px as stored |
| level | int16 | level of the slide's pyramid that the patch was read from |
| mpp | float32 | micrometres per px of the stored patch; null where unknown |
| patch_size_level0 | int32 | optional, null where unknown; side of the patch, px at level 0 |
| patch_label | int8 | optional, null where unknown; measures attention, never trains or chooses anything |
| image | binary | pixels, way 1: the encoded file (JPEG, PNG, ...) |
| image_uri | string | pixels, way 2: a file or object; relative to the manifest's folder when it has no scheme |
| slide_uri | string | pixels, way 3: a region of this slide, at x, y, level |

Each Parquet file's metadata holds the format version, the program that wrote it, the SHA-256 of its rows, the runs of
its slides, and the file's number among the files of its manifest.

In format 1, and in tables of other programs, every row repeats the facts of its slide, `patient_id`, `label` and
`split`, and there is no `slides.parquet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FORMAT_VERSION = 2
FORMAT_KEY = b"wsc_ray.format"
CREATOR_KEY = b"wsc_ray.creator"
DIGEST_KEY = b"wsc_ray.digest"
RUNS_KEY = b"wsc_ray.runs"  # see `runs`
PART_KEY = b"wsc_ray.part"  # such as `3/17`, so that a missing file is noticed
CHECKSUM_KEY = b"wsc_ray.footer_sha256"  # covers columns and the other keys, which a run is planned from

# Facts of its slide that each row of a table to import, or of format 1, repeats.
OF_SLIDE = pa.schema([("patient_id", pa.string()), ("label", pa.string()), ("split", pa.string())])
OPTIONAL_OF_SLIDE = pa.schema([("site", pa.string())])
REQUIRED = pa.schema(
    [
        ("slide_id", pa.string()),
        ("x", pa.int64()),
        ("y", pa.int64()),
        ("patch_size", pa.int32()),
        ("level", pa.int16()),
        ("mpp", pa.float32()),
    ]
)
OPTIONAL = pa.schema([("patch_size_level0", pa.int32()), ("patch_label", pa.int8())])
PIXELS = pa.schema([("image", pa.binary()), ("image_uri", pa.string()), ("slide_uri", pa.string())])
SLIDE_COLUMNS = (
    "slide_id",
    *OF_SLIDE.names,
    *OPTIONAL_OF_SLIDE.names,
)  # strings that are the same in all rows of a slide
COLUMNS = pa.schema(
    [REQUIRED.field("slide_id"), *OF_SLIDE, *OPTIONAL_OF_SLIDE, *list(REQUIRED)[1:], *OPTIONAL, *PIXELS]
)


def schema_for(names: Iterable[str]) -> pa.Schema:
    """Return the schema of the manifest's columns among `names`, in the manifest's order and types."""
    wanted = set(names)
    return pa.schema([field for field in COLUMNS if field.name in wanted])


def missing_columns(names: Iterable[str], *, rows_describe_slides: bool, labelled: bool = True) -> list[str]:
    """Return the columns that a manifest needs and `names` lacks.

    Args:
        rows_describe_slides: whether rows repeat patient, label and split of their slides, as in format 1.
        labelled: whether the manifest needs patients, labels and splits.
    """
    have = set(names)
    of_slides = rows_describe_slides and labelled
    needed = ["slide_id", *OF_SLIDE.names, *REQUIRED.names[1:]] if of_slides else REQUIRED.names
    missing = [name for name in needed if name not in have]
    if not have & set(PIXELS.names):
        missing.append("one of " + ", ".join(PIXELS.names))
    return missing


def conform(table: pa.Table) -> pa.Table:
    """Return the manifest's columns of `table` in the manifest's types, each in one chunk.

    Raises:
        pa.ArrowInvalid, pa.ArrowNotImplementedError: a value does not fit the manifest's type.
    """
    schema = schema_for(table.column_names)
    return table.select(schema.names).cast(schema).combine_chunks()


def footer_checksum(schema: pa.Schema, metadata: Mapping[bytes, str | bytes]) -> bytes:
    """Return the SHA-256 (hex) of a footer's columns and of wsc-ray's keys in its metadata, except this checksum."""
    encoded = {key: value if isinstance(value, bytes) else value.encode() for key, value in metadata.items()}
    own = sorted((key, value) for key, value in encoded.items() if key.startswith(b"wsc_ray.") and key != CHECKSUM_KEY)
    columns = [(field.name, str(field.type)) for field in schema]
    return hashlib.sha256(repr((columns, own)).encode()).hexdigest().encode()


def hash_rows(digest: hashlib._Hash, table: pa.Table) -> None:
    """Add the rows of a row group to a digest: only values count, not their encoding, compression or buffers."""
    digest.update(f"{table.num_rows}".encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}:{column.type}".encode())
        values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        digest.update(np.packbits(pc.is_null(values).to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
            values = pc.fill_null(values, b"" if pa.types.is_binary(values.type) else "")
            digest.update(pc.binary_length(values).to_numpy())
            _, offsets, data = values.buffers()
            ends = (
                np.frombuffer(offsets, np.int32)[[values.offset, values.offset + len(values)]]
                if len(values)
                else (0, 0)
            )
            if data is not None:
                digest.update(memoryview(data)[ends[0] : ends[1]])
        else:
            digest.update(pc.fill_null(values, 0).to_numpy().tobytes())
