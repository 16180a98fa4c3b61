"""Find the problems of a table of patches from its metadata, without images; pure and vectorised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort.problems import alike, slides_of_one_file
from wsc_ray.files import is_file_name
from wsc_ray.manifest.schema import OF_SLIDE, PIXELS, REQUIRED, SLIDE_COLUMNS, missing_columns

SHOWN = 5  # most examples that a problem names; it counts the others
MAY_BE_NULL = {"mpp"}
_ONE_EACH = (
    ("slide_id", "label"),
    ("slide_id", "patient_id"),
    ("slide_id", "split"),
    ("slide_id", "site"),
    ("patient_id", "split"),
)
_PLAIN = {"slide_id": "slide", "patient_id": "patient"}


@dataclass(frozen=True)
class Codes:
    """A string column as codes: `codes` (n,) int64 are indices into `names`, -1 where null or empty."""

    codes: np.ndarray
    names: list[str]


def find_problems(
    table: pa.Table, *, columns: Sequence[str] | None = None, rows_describe_slides: bool = True
) -> list[str]:
    """Return all problems of a table of patches, one sentence each; none for a good table.

    Args:
        table: the manifest's columns without image bytes, strings plain or dictionary-encoded.
        columns: the columns of the table's source, where these are more than `table` has (`image`).
        rows_describe_slides: whether rows repeat patient, label and split of their slides: a table to import, or format 1.
    """
    have = list(columns if columns is not None else table.column_names)
    problems = []
    missing = missing_columns(have, rows_describe_slides=rows_describe_slides)
    if missing:
        problems.append(f"missing columns: {', '.join(missing)}")
    if table.num_rows == 0:
        return [*problems, "no patches: the table has no rows"]
    coded = {name: encode(table[name]) for name in SLIDE_COLUMNS if name in table.column_names}
    where = _Where(table, coded)
    problems += _nulls(table, coded, where, pixels="image" not in have)
    problems += _numbers(table, where)
    for name in ("slide_id", "patient_id"):
        if name in coded:
            problems += _file_names(name, coded[name])
    for owner, value in _ONE_EACH:
        if owner in coded and value in coded:
            problems += _one_each(owner, value, coded)
    for name in ("patient_id", "label", "split"):
        if name in coded:
            problems += alike(coded[name].names, name)
    if "slide_id" in coded:
        problems += slides_of_one_file(coded["slide_id"].names)
    if "slide_id" in coded and "image_uri" in table.column_names:
        problems += _images_of_several_slides(table["image_uri"], coded["slide_id"], where)
    if "slide_id" in coded and {"x", "y", "level"} <= set(table.column_names):
        problems += _duplicates(table, coded["slide_id"].codes, where)
    return problems


def encode(column: pa.ChunkedArray) -> Codes:
    """Return the codes of a string column; an empty string counts as null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(column, pa.ChunkedArray):  # combine_chunks of dictionaries
        column = column.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    names = column.dictionary.to_pylist()
    codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    blank = [code for code, name in enumerate(names) if not name]
    return Codes(np.where(np.isin(codes, blank), -1, codes) if blank else codes, names)


def examples(places: np.ndarray | Sequence[int], describe: Callable[[int], str]) -> str:
    """Return a list of examples such as `row 3 (slide a, x 0, y 96), row 9 (...) and 12 more`."""
    shown = ", ".join(describe(int(place)) for place in places[:SHOWN])
    return shown + (f" and {len(places) - SHOWN:,} more" if len(places) > SHOWN else "")


class _Where:
    """Describes a row for the user: its number, slide, x and y."""

    def __init__(self, table: pa.Table, coded: dict[str, Codes]):
        self.table, self.coded = table, coded

    def __call__(self, row: int) -> str:
        facts = []
        if "slide_id" in self.coded:
            code = self.coded["slide_id"].codes[row]
            facts.append(f"slide {self.coded['slide_id'].names[code]}" if code >= 0 else "no slide")
        facts += [f"{name} {self.table[name][row].as_py()}" for name in ("x", "y") if name in self.table.column_names]
        return f"row {row}" + (f" ({', '.join(facts)})" if facts else "")


def _nulls(table: pa.Table, coded: dict[str, Codes], where: _Where, *, pixels: bool) -> list[str]:
    problems = []
    for name in ("slide_id", *OF_SLIDE.names, *REQUIRED.names[1:]):
        if name not in table.column_names or name in MAY_BE_NULL:
            continue
        null = coded[name].codes < 0 if name in coded else pc.is_null(table[name]).to_numpy()
        rows = np.flatnonzero(null)
        if len(rows):
            problems.append(f"null {name}: {_count(len(rows), 'row')}: {examples(rows, where)}")
    kinds = [name for name in PIXELS.names if name in table.column_names]
    if pixels and kinds:
        null = np.logical_and.reduce([pc.is_null(table[name]).to_numpy() for name in kinds])
        rows = np.flatnonzero(null)
        if len(rows):
            problems.append(f"no pixels ({', '.join(kinds)} null): {_count(len(rows), 'row')}: {examples(rows, where)}")
    return problems


def _numbers(table: pa.Table, where: _Where) -> list[str]:
    problems = []
    for name, least, meaning in (
        ("patch_size", 1, "at least 1 px"),
        ("patch_size_level0", 1, "at least 1 px"),
        ("level", 0, "0 or more"),
        ("mpp", 1e-9, "above 0 um/px"),
    ):
        if name in table.column_names:
            good = pc.fill_null(pc.and_(pc.greater_equal(table[name], least), pc.less(table[name], float("inf"))), True)
            rows = np.flatnonzero(~good.to_numpy())
            if len(rows):
                problems.append(f"{name} must be {meaning}: {_count(len(rows), 'row')}: {examples(rows, where)}")
    return problems


def _file_names(name: str, ids: Codes) -> list[str]:
    used = np.unique(ids.codes[ids.codes >= 0])
    bad = [code for code in used if not is_file_name(ids.names[code])]
    if not bad:
        return []
    first = _first_rows(ids.codes, len(ids.names))
    named = examples(bad, lambda code: f"{ids.names[code]!r} (row {first[code]})")
    return [
        f"{name} that cannot be a file name (letters, digits and ._ ()+=@- only, not starting with a mark): "
        f"{_count(len(bad), _PLAIN[name])}: {named}"
    ]


def _one_each(owner: str, value: str, coded: dict[str, Codes]) -> list[str]:
    """Return a problem that names the owners (slides or patients) with more than one value (labels, patients, ...)."""
    left, right = coded[owner], coded[value]
    known = np.flatnonzero((left.codes >= 0) & (right.codes >= 0))
    width = max(len(right.names), 1)
    pairs, first = np.unique(left.codes[known] * width + right.codes[known], return_index=True)
    owners = pairs // width
    several = np.unique(owners[1:][owners[1:] == owners[:-1]])

    def describe(code: int) -> str:
        own_pairs = np.flatnonzero(owners == code)
        values = sorted((int(known[first[i]]), right.names[pairs[i] % width]) for i in own_pairs)
        return f"{left.names[code]} has " + " and ".join(f"{name} (row {row})" for row, name in values[:3])

    if not len(several):
        return []
    plural = {"label": "two labels", "patient_id": "two patients", "split": "two splits", "site": "two sites"}[value]
    return [f"{_PLAIN[owner]} with {plural}: {_count(len(several), _PLAIN[owner])}: {examples(several, describe)}"]


def _images_of_several_slides(uris: pa.ChunkedArray, slides: Codes, where: _Where) -> list[str]:
    """Return a problem that names the rows whose image belongs to an earlier row of another slide, too."""
    plain = pc.replace_substring_regex(pc.replace_substring_regex(uris, r"^(\./)+", ""), r"/(\./)+", "/")
    images = pc.fill_null(plain.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    known = np.flatnonzero((images >= 0) & (slides.codes >= 0))
    _, first, inverse = np.unique(images[known], return_index=True, return_inverse=True)
    earlier = known[first[inverse]]
    again = np.flatnonzero(slides.codes[earlier] != slides.codes[known])
    if not len(again):
        return []
    named = examples(again, lambda place: f"{where(known[place])} has that of row {earlier[place]}")
    return [f"one image under several slides: {_count(len(again), 'row')}: {named}"]


def _duplicates(table: pa.Table, slides: np.ndarray, where: _Where) -> list[str]:
    """Return a problem that names the rows with the same slide, x, y, level and um/px as an earlier row.

    Patches of two scales may have the same corner. Rows are sorted by a 64-bit hash of the five, which takes a second for
    ten million rows; rows with equal hashes are then compared in full.
    """
    keys = [slides, *(pc.fill_null(table[name].cast(pa.int64()), 0).to_numpy() for name in ("x", "y", "level"))]
    if "mpp" in table.column_names:
        mpp = np.nan_to_num(table["mpp"].cast(pa.float32()).to_numpy(), nan=0.0)
        keys.append(np.ascontiguousarray(mpp, np.float32).view(np.int32).astype(np.int64))
    mixed = np.zeros(len(slides), dtype=np.uint64)
    for key in keys:
        mixed = (mixed ^ key.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    ranked = mixed[order]
    suspects = np.flatnonzero(ranked[1:] == ranked[:-1])
    if not len(suspects):
        return []
    rows = np.unique(np.concatenate([order[suspects], order[suspects + 1]]))
    rows = rows[slides[rows] >= 0]
    _, first, inverse = np.unique(np.stack([key[rows] for key in keys]), axis=1, return_index=True, return_inverse=True)
    original = rows[first[inverse.reshape(-1)]]
    again = np.flatnonzero(original != rows)
    if not len(again):
        return []
    named = examples(again, lambda place: f"{where(rows[place])} repeats row {original[place]}")
    return [f"duplicate patches (same slide, x, y, level, mpp): {_count(len(again), 'row')}: {named}"]


def _first_rows(codes: np.ndarray, count: int) -> np.ndarray:
    """Return the first row of each code, (count,)."""
    first = np.full(count, -1)
    present, rows = np.unique(codes, return_index=True)
    first[present[present >= 0]] = rows[present >= 0]
    return first


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
