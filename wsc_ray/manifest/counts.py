"""How many patches, slides and patients a table holds, by split and slide label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from wsc_ray.manifest.problems import encode


def count(table: pa.Table) -> dict[str, Any]:
    """Totals, and the same for every split and slide label.

    Args:
        table: slide_id, patient_id, label and split of every patch, without nulls.

    Returns:
        `patches`, `slides`, `patients`, and `splits`: split -> label -> the same three.
    """
    slide, patient, label, split = (encode(table[name]) for name in ("slide_id", "patient_id", "label", "split"))
    cells = split.codes * max(len(label.names), 1) + label.codes
    splits: dict[str, dict[str, dict[str, int]]] = {}
    patches = dict(zip(*(values.tolist() for values in np.unique(cells, return_counts=True)), strict=True))
    slides, patients = _distinct(cells, slide.codes), _distinct(cells, patient.codes)
    for cell in patches:
        at, of = divmod(cell, max(len(label.names), 1))
        here = {"patches": patches[cell], "slides": slides[cell], "patients": patients[cell]}
        splits.setdefault(split.names[at], {})[label.names[of]] = here
    return {
        "patches": table.num_rows,
        "slides": len(np.unique(slide.codes)),
        "patients": len(np.unique(patient.codes)),
        "splits": {name: dict(sorted(splits[name].items())) for name in sorted(splits)},
    }


def _distinct(cells: np.ndarray, codes: np.ndarray) -> dict[int, int]:
    """Cell -> number of different codes in it."""
    width = int(codes.max(initial=0)) + 1
    pairs = np.unique(cells * width + codes)
    return dict(zip(*(values.tolist() for values in np.unique(pairs // width, return_counts=True)), strict=True))
