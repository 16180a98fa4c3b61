"""Oracles that read a table or a recipe with other code than the package's, to judge results that a damaged input has changed."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import Any

import pandas as pd
import yaml

from benchmarks.fuzz.world import PLACES, SLIDES

_WHOLE = re.compile(r"(-?\d+)\.0+")


def rows_of(content: bytes, names: tuple[str, ...]) -> list[dict[str, str]] | None:
    """Return the rows of a CSV, read with Python's own reader; None if lines differ in length, there are no rows, or columns are missing or twice."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [[value.strip() for value in line] for line in csv.reader(io.StringIO(text, newline=""))]
    lines = [line for line in lines if any(line)]
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        return None
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    return rows if rows and set(names) <= set(lines[0]) and len(set(lines[0])) == len(lines[0]) else None


def labels_of(rows: list[dict[str, str]]) -> list[str]:
    """Return the label of each row by the rules in the README: whole numbers, truth values, and no missing labels."""
    labels = [_WHOLE.sub(r"\1", row["label"]) if _WHOLE.fullmatch(row["label"]) else row["label"] for row in rows]
    if {label.lower() for label in labels} <= {"true", "false"}:
        labels = [label.lower() for label in labels]
    return labels


def has_missing(values: list[str]) -> bool:
    """Return whether pandas takes any of the values for missing."""
    read = pd.read_csv(
        io.StringIO("a\n" + "\n".join(f'"{value}"' for value in values)), dtype=str, skip_blank_lines=False
    )
    return bool(read["a"].isna().any())


def counts_of_list(content: bytes) -> Counter[tuple[str, str]] | None:
    """Return the number of slides by split and label in a list of slides."""
    rows = rows_of(content, ("path", "label", "split"))
    if rows is None or has_missing([row[name] for row in rows for name in ("label", "split")]):
        return None
    return Counter((row["split"], label) for row, label in zip(rows, labels_of(rows), strict=True))


def patches_of_table(content: bytes) -> Counter[tuple[Any, ...]] | None:
    """Return the number of patches by slide, patient, label, split, x and y in a table to import, or in a list of images."""
    rows = rows_of(content, ("slide_id", "label", "split"))
    if rows is None or has_missing([row[name] for row in rows for name in ("slide_id", "label", "split")]):
        return None
    found: Counter[tuple[Any, ...]] = Counter()
    for row, label in zip(rows, labels_of(rows), strict=True):
        place = (float(row["x"]), float(row["y"])) if "x" in row else None
        found[row["slide_id"], row.get("patient_id") or row["slide_id"], label, row["split"], place] += 1
    return found


def patches_of_cohort(content: bytes) -> dict[str, int] | None:
    """Return the number of pure and mixed patches in training, with a cohort table over the world's manifest of `SLIDES`."""
    rows = rows_of(content, ())
    if rows is None:
        return None
    key = next((name for name in ("slide_id", "sample_id", "patient_id", "case_id") if name in rows[0]), None)
    if key is None:
        return None
    own = {slide if key in ("slide_id", "sample_id") else f"p{slide}": said for slide, said in SLIDES.items()}
    labels = labels_of(rows) if "label" in rows[0] else [own.get(row[key], ("", ""))[0] for row in rows]
    found = {"pure": 0, "mixed": 0}
    for row, label in zip(rows, labels, strict=True):
        split = row.get("split", own.get(row[key], ("", ""))[1])
        if row[key] in own and split == "train" and not has_missing([label]):
            found["pure" if label == "negative" else "mixed"] += len(PLACES)
    return found


def settings_of(content: bytes) -> dict[str, Any]:
    """Return a recipe's settings, `section.name` -> value, read with PyYAML's own loader."""
    values = yaml.safe_load(content.decode("utf-8-sig")) or {}
    found = {}
    for section, inner in values.items():
        if isinstance(inner, dict):
            found.update({f"{section}.{name}": value for name, value in inner.items()})
        else:
            found[section] = inner
    return found


def same_value(said: Any, resolved: Any) -> bool:
    """Return whether a setting equals the recipe's; `1e-4`, which is text in YAML 1.1, counts as a number."""
    if isinstance(said, list) and isinstance(resolved, list | tuple):
        return len(said) == len(resolved) and all(map(same_value, said, resolved))
    if isinstance(said, bool) or isinstance(resolved, bool):
        return said is resolved
    if isinstance(resolved, int | float) and isinstance(said, str):
        try:
            said = float(said)
        except ValueError:
            return False
    return said == resolved or str(said) == resolved  # a date is text in a recipe
