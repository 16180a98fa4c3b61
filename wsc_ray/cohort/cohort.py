"""A cohort: a table with one row for each slide, which holds its patient, labels, splits and other facts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from wsc_ray.cohort.values import suggest
from wsc_ray.errors import DataError

SLIDE, PATIENT, LABEL, SPLIT, SITE, PATCHES = "slide_id", "patient_id", "label", "split", "site", "patches"
FOLD = "fold"
KEYS = (SLIDE, PATIENT)


@dataclass(frozen=True, eq=False)
class Cohort:
    """The slides of a manifest or of a feature store.

    Attributes:
        slides: sorted by slide id: `slide_id` and `patient_id`, which are never null, then columns of text or numbers:
            targets such as `label`, `split` or folds, `site`, `mpp`. A null means unknown.
        name: where the table comes from, for messages.
    """

    slides: pa.Table
    name: str

    def __len__(self) -> int:
        return self.slides.num_rows

    @property
    def columns(self) -> list[str]:
        """The names of the columns other than `slide_id` and `patient_id`."""
        return [name for name in self.slides.column_names if name not in KEYS]

    @property
    def ids(self) -> list[str]:
        """The slides' ids, in order."""
        return self.slides[SLIDE].cast(pa.string()).to_pylist()

    def texts(self, column: str) -> list[str | None]:
        """Return a column as text, in the order of slides.

        Raises:
            DataError: the cohort has no such column.
        """
        if column not in self.slides.column_names:
            raise DataError(f"{self.name} has no column `{column}`{suggest(column, self.columns)}")
        return self.slides[column].cast(pa.string()).to_pylist()

    def digest(self, columns: Sequence[str] | None = None) -> str:
        """Return the SHA-256 (hex) of the values of the table or of these columns; its file does not matter."""
        names = columns if columns is not None else self.slides.column_names
        rows = zip(*(self.slides[name].to_pylist() for name in names), strict=True)
        return hashlib.sha256(repr([list(names), [*rows]]).encode()).hexdigest()


def make_cohort(slides: pa.Table, name: str) -> Cohort:
    """Return a cohort made from a table with `slide_id` and `patient_id`: sorted, keys first, dictionaries decoded."""
    others = [column for column in slides.column_names if column not in KEYS]
    plain = {
        column: slides[column].cast(slides[column].type.value_type)
        if pa.types.is_dictionary(slides[column].type)
        else slides[column]
        for column in (*KEYS, *others)
    }
    for column, values in plain.items():
        if column in KEYS or pa.types.is_null(values.type):
            plain[column] = values.cast(pa.string())
    table = pa.table(plain)
    order = pc.sort_indices(table, sort_keys=[(SLIDE, "ascending")])
    return Cohort(table.take(order).combine_chunks(), name)
