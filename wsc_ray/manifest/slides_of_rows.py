"""Make a table of slides from rows of patches that repeat the facts of their slide."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from wsc_ray.manifest.problems import encode
from wsc_ray.manifest.schema import SLIDE_COLUMNS


def slides_of_rows(table: pa.Table) -> pa.Table:
    """Return a table with one row for each slide, or several where its patches contradict each other.

    Args:
        table: `slide_id` and other columns of `SLIDE_COLUMNS`, with a row for each patch.
    """
    names = [name for name in SLIDE_COLUMNS if name in table.column_names]
    key = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        codes = encode(table[name]).codes + 1
        _, key = np.unique(key * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    _, first = np.unique(key, return_index=True)
    rows = table.select(names).take(pa.array(np.sort(first)))
    return pa.table({name: rows[name].cast(pa.string()) for name in names})
