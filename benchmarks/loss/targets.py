"""The targets of the loss, judged from the measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.loss.compare import MEASURED, Measurement
from benchmarks.loss.contenders import LIGHTLY, METRIC, OURS, RESTATEMENT
from benchmarks.markdown import times
from wsc_ray.bench.markdown import digits, size
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN, Verdict

SPEED_AT, FASTER, MEMORY_SHARE, SIMILARITY_FASTER = 8192, 8, 0.07, 500
LARGEST, MOST_BYTES = 32_768, 2e9
AHEAD_FROM = 2048
UNABLE = "it cannot run"  # the verdict on a rival that needs more than the memory limit in every size
RIVALS = ((LIGHTLY, "contrastive"), (METRIC, "contrastive"), (METRIC, "supcon"))


def verdicts(measurements: Sequence[Measurement]) -> list[Verdict]:
    """Every target that the measurements could tell about, and whether it is reached."""
    processes = sorted({one.processes for one in measurements})
    return [
        _speed(measurements, "weaksupcon", FASTER),
        _memory(measurements),
        _speed(measurements, "similarity", SIMILARITY_FASTER),
        _largest(measurements),
        *[_ahead(measurements, rival, part, count) for rival, part in RIVALS for count in processes],
    ]


def _find(measurements: Sequence[Measurement], part: str, patches: int, contender: str) -> Measurement | None:
    """With one process, if it was measured or tried."""
    wanted = (part, patches, 1, contender)
    return next((one for one in measurements if (one.part, one.patches, one.processes, one.contender) == wanted), None)


def _verdict(good: bool) -> str:
    return REACHED if good else MISSED


def _speed(measurements: Sequence[Measurement], part: str, factor: float) -> Verdict:
    target = f"{part} at {SPEED_AT:,} patches, one process: at least {factor}x faster than the restatement"
    plain = _find(measurements, part, SPEED_AT, RESTATEMENT)
    if plain is None or plain.times is None:
        return Verdict(target, UNKNOWN, "")
    return Verdict(target, _verdict(plain.times["median"] >= factor), times(plain.times["median"]))


def _memory(measurements: Sequence[Measurement]) -> Verdict:
    target = (
        f"weaksupcon at {SPEED_AT:,} patches, one process: "
        f"at most {MEMORY_SHARE:.0%} of the restatement's peak extra memory"
    )
    plain = _find(measurements, "weaksupcon", SPEED_AT, RESTATEMENT)
    if plain is None or plain.bytes_ratio is None:
        return Verdict(target, UNKNOWN, "")
    share = 1 / plain.bytes_ratio if plain.bytes_ratio else math.inf
    return Verdict(target, _verdict(share <= MEMORY_SHARE), f"{digits(100 * share, 2)}%")


def _largest(measurements: Sequence[Measurement]) -> Verdict:
    target = (
        f"weaksupcon at {LARGEST:,} patches, one process: runs within {size(MOST_BYTES)} (the whole process, torch "
        "too), where the restatement cannot"
    )
    ours, plain = (_find(measurements, "weaksupcon", LARGEST, name) for name in (OURS, RESTATEMENT))
    if ours is None or plain is None:
        return Verdict(target, UNKNOWN, "")
    if ours.process_bytes is None:
        return Verdict(target, MISSED, f"ours: {ours.status}")
    there = plain.status if plain.process_bytes is None else size(plain.process_bytes)
    good = ours.process_bytes <= MOST_BYTES and (plain.process_bytes is None or plain.process_bytes > MOST_BYTES)
    return Verdict(target, _verdict(good), f"{size(ours.process_bytes)}; restatement: {there}")


def _ahead(measurements: Sequence[Measurement], rival: str, part: str, processes: int) -> Verdict:
    """In every size that both ran in; ours must run in all."""
    loss = "NT-Xent" if part == "contrastive" else "SupCon"
    count = "one process" if processes == 1 else f"{processes} processes"
    target = f"{loss}, {count}: ahead of {rival} in time and memory from {AHEAD_FROM:,} patches up"
    here = [one for one in measurements if one.part == part and one.processes == processes]
    theirs = [one for one in here if one.contender == rival and one.patches >= AHEAD_FROM]
    ours = [one for one in here if one.contender == OURS and one.patches >= AHEAD_FROM]
    if not theirs:
        return Verdict(target, UNKNOWN, "")
    able = all(one.status == MEASURED for one in ours)
    both = [one for one in theirs if one.times is not None and one.bytes_ratio is not None]
    unable = [f"{one.status} at {one.patches:,}" for one in theirs if one.status != MEASURED]
    figures = [f"it: {', '.join(unable)}"] if unable else []
    if both:
        slow, large = min(one.times["median"] for one in both), min(one.bytes_ratio for one in both)
        figures.insert(0, f"at least {times(slow)} faster, {times(large)} smaller")
        able = able and slow > 1 and large > 1
    return Verdict(target, UNABLE if able and not both else _verdict(able), "; ".join(figures))
