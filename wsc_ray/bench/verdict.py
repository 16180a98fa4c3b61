"""Targets of benchmarks, and whether they are reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wsc_ray.bench.markdown import table

REACHED, MISSED, UNKNOWN = "reached", "not reached", "not measured"


class Verdict(NamedTuple):
    target: str
    verdict: str  # REACHED, MISSED or UNKNOWN
    figures: str


def targets(verdicts: Sequence[Verdict]) -> str:
    """Return the table of targets."""
    return table(
        ["target", "", "measured"], [[verdict.target, verdict.verdict, verdict.figures or "-"] for verdict in verdicts]
    )
