"""The targets of reading, judged from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.data.contenders import DECODING, RAY, REFERENCE
from benchmarks.markdown import times
from wsc_ray.bench.markdown import digits, seconds
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN, Verdict

FASTER, OF_DECODING, MOST_WAITING, FIRST_BATCH = 10, 0.25, 0.02, 10.0
PLANNING_ROWS, PLANNING_FILES, PLANNING_SECONDS, PLANNING_MB = 10_000_000, 200, 5.0, 300.0


@dataclass(frozen=True)
class Figures:
    """What is judged.

    Args:
        faster: of ours through Ray to each other contender, patches a second a core.
        waited: share of the training's time spent waiting for data.
        first_batch: seconds.
        planning: of `PLANNING_ROWS` in `PLANNING_FILES`, see `measure_planning`; None: not measured.
    """

    faster: Mapping[str, float]
    waited: float
    first_batch: float
    planning: Mapping[str, float] | None


def verdicts(figures: Figures | None) -> list[Verdict]:
    """Every target and whether it is reached; None (figures of other sizes): nothing is judged."""
    judged = [
        (
            f"{RAY}: at least {FASTER}x the patches a second a core of {REFERENCE}",
            lambda f: (f.faster[REFERENCE] >= FASTER, times(f.faster[REFERENCE])),
        ),
        (
            f"{RAY}: at least {OF_DECODING:.0%} of {DECODING}",
            lambda f: (f.faster[DECODING] >= OF_DECODING, f"{100 * f.faster[DECODING]:.0f}%"),
        ),
        (
            f"training whose model is the bottleneck waits for data less than {MOST_WAITING:.0%} of the time",
            lambda f: (f.waited < MOST_WAITING, f"{digits(100 * f.waited, 2)}%"),
        ),
        (
            f"the first batch within {FIRST_BATCH:g} s of a warm Ray",
            lambda f: (f.first_batch <= FIRST_BATCH, seconds(f.first_batch)),
        ),
        (
            f"a manifest of {PLANNING_ROWS:,} rows in {PLANNING_FILES} files plans within {PLANNING_SECONDS:g} s and "
            f"{PLANNING_MB:g} MB (the whole process, libraries too)",
            lambda f: (
                (f.planning["seconds"] <= PLANNING_SECONDS and f.planning["peak_mb"] <= PLANNING_MB)
                if f.planning
                else None,
                f"{seconds(f.planning['seconds'])}, {f.planning['peak_mb']:.0f} MB" if f.planning else "",
            ),
        ),
    ]
    return [_verdict(target, *(judge(figures) if figures else (None, ""))) for target, judge in judged]


def _verdict(target: str, good: bool | None, text: str) -> Verdict:
    return Verdict(target, UNKNOWN if good is None else REACHED if good else MISSED, text)
