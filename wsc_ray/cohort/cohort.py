"""A cohort: one row a slide, with its patient and whatever else is known of it."""

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
        slides: by slide id: `slide_id` and `patient_id`, which are never null, then columns of text or numbers: targets
            such as `label`, `split` or folds, `site`, `mpp`. A null is not known.
        name: where the table is from, for people.
    """

    slides: pa.Table
    name: str

    def __len__(self) -> int:
        return self.slides.num_rows

    @property
    def columns(self) -> list[str]:
        """What is known of slides besides who they are."""
        return [name for name in self.slides.column_names if name not in KEYS]

    @property
    def ids(self) -> list[str]:
        """The slides, in order."""
        return self.slides[SLIDE].cast(pa.string()).to_pylist()

    def texts(self, column: str) -> list[str | None]:
        """A column as text, in the order of slides.

        Raises:
            DataError: the cohort has no such column.
        """
        if column not in self.slides.column_names:
            raise DataError(f"{self.name} has no column `{column}`{suggest(column, self.columns)}")
        return self.slides[column].cast(pa.string()).to_pylist()

    def digest(self, columns: Sequence[str] | None = None) -> str:
        """SHA-256 (hex) of the table, or of these columns: of values, whatever the file that they come from."""
        names = columns if columns is not None else self.slides.column_names
        rows = zip(*(self.slides[name].to_pylist() for name in names), strict=True)
        return hashlib.sha256(repr([list(names), [*rows]]).encode()).hexdigest()


def make_cohort(slides: pa.Table, name: str) -> Cohort:
    """A cohort from a table with `slide_id` and `patient_id`: by slide id, keys first, dictionaries decoded."""
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
