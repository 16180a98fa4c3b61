"""Summaries for people: aligned lines of what a command did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def describe(summary: Mapping[str, Any], *, dry_run: bool = False) -> str:
    """Return a summary as short text: one line for each value, nested values as `a.b`."""
    pairs = list(_lines(summary))
    width = max(len(key) for key, _ in pairs)
    head = ["plan (nothing was started):"] if dry_run else []
    if summary.get("already_complete"):
        head = ["already complete; delete the folder to do it again"]
    return "\n".join(head + [f"  {key:<{width}}  {value}" for key, value in pairs])


def _lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{key}.")
        elif key == "notes":  # sentences
            yield from ((f"{prefix}note", sentence) for sentence in value)
        elif value not in (None, []) and key != "already_complete":
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return str(value)
