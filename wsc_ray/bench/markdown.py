"""Formatting numbers for people, and Markdown tables and lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned in plain text too."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "| " + " | ".join("-" * max(width, 3) for width in widths) + " |"
    return "\n".join([padded[0], rule, *padded[1:]])


def facts(values: Mapping[str, Any]) -> str:
    """Return a Markdown list with one line per value; None is left out."""
    return "\n".join(f"* {name}: {value}" for name, value in values.items() if value is not None)


def environment(summary: Mapping[str, Any]) -> str:
    """Return the machine, versions and commit of a benchmark's summary, as a Markdown list."""
    machine = summary["machine"]
    return facts(
        {
            "Machine": f"{machine['cpu']}, {machine['cores']} cores ({machine['threads']} used), "
            f"{machine['memory_gb']:g} GB, {machine['os']}",
            "Versions": ", ".join(
                f"{name} {version}"
                for name, version in {"Python": machine["python"], **summary["versions"]}.items()
                if version is not None
            ),
            "Commit": summary["commit"] or "not run from a checkout",
            "Command": f"`{summary['invocation']}`",
        }
    )


def seconds(value: float) -> str:
    """Return seconds with three significant digits in a suitable unit: 12.3 ms."""
    unit, scale = unit_of(value)
    return f"{digits(value * scale)} {unit}"


def unit_of(value: float) -> tuple[str, float]:
    """Return a suitable unit for a number of seconds, and the number of these units in a second."""
    return ("s", 1.0) if value >= 1 else ("ms", 1e3) if value >= 1e-3 else ("us", 1e6)


def size(count: float) -> str:
    """Return bytes with three significant digits in a suitable unit (1 MB = 10^6 bytes)."""
    return f"{digits(count / 1e9)} GB" if count >= 1e9 else f"{digits(count / 1e6)} MB"


def digits(value: float, significant: int = 3) -> str:
    """Return a number in fixed notation with about `significant` digits: 0.0123, 1.23, 123, 12,346."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"
