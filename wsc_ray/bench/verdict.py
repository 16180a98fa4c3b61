"""Targets and whether they are reached, as every benchmark says it."""

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
    """A table of what was to be reached."""
    return table(["target", "", "measured"], [[one.target, one.verdict, one.figures or "-"] for one in verdicts])
