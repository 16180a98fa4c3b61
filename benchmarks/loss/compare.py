"""Measuring one case: the memory of each contender in its own processes, then the time of all contenders in turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.crew import OutOfMemory, run_crew
from benchmarks.loss.contenders import PRELOAD, Contender
from benchmarks.loss.equal import require_equal
from benchmarks.loss.measure import Case, measure_memory, measure_time
from benchmarks.timing import quartiles, ratio, slowest

MEASURED, OUT_OF_MEMORY = "measured", "out of memory"


@dataclass(frozen=True)
class Measurement:
    """What one contender needed in one case; None where it could not run.

    Args:
        status: MEASURED, OUT_OF_MEMORY, or `needs N GB` where that was foreseen and it was not tried.
        seconds: quartiles over `rounds` of forward and backward, of the slower process.
        extra_bytes: peak above what was there before, summed over processes; `process_bytes`: the largest process's
            peak with everything in it, torch too.
        times: quartiles over rounds of its seconds / ours; `bytes_ratio`: its extra_bytes / ours, None where ours is 0.
    """

    part: str
    patches: int
    processes: int
    contender: str
    status: str
    seconds: dict[str, float] | None = None
    rounds: int | None = None
    extra_bytes: int | None = None
    process_bytes: int | None = None
    times: dict[str, float] | None = None
    bytes_ratio: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_case(
    case: Case, contenders: Sequence[Contender], *, repeats: int, threads: int, limit: float
) -> list[Measurement]:
    """Everybody's measurements, in their order; the first contender is the one that the others are compared with.

    Raises:
        UnequalError: they do not compute the same.
        CrewError: a process failed otherwise than for memory.
    """
    status: dict[str, str] = {}
    memory: dict[str, tuple[int, int]] = {}
    for one in contenders:
        needs = one.needs(case.patches, case.processes)
        if needs > limit:
            status[one.name] = f"needs {needs / 1e9:,.0f} GB"
            continue
        try:
            peaks = run_crew(
                measure_memory, case, one, limit, processes=case.processes, threads=threads, preload=PRELOAD
            )
        except OutOfMemory:
            status[one.name] = OUT_OF_MEMORY
            continue
        memory[one.name] = sum(peak["extra"] for peak in peaks), max(peak["total"] for peak in peaks)

    able = [one for one in contenders if one.name in memory]
    seconds, excluded = _times(case, able, repeats, threads, limit)
    status.update(dict.fromkeys(excluded, OUT_OF_MEMORY))
    return [_measurement(case, one.name, contenders[0].name, status, seconds, memory) for one in contenders]


def _times(
    case: Case, able: Sequence[Contender], repeats: int, threads: int, limit: float
) -> tuple[dict[str, list[float]], list[str]]:
    """Seconds a round by contender, and who ran out of memory after all, side by side with the others."""
    able, excluded = list(able), []
    while able:
        try:
            told = run_crew(
                measure_time, case, able, repeats, limit, processes=case.processes, threads=threads, preload=PRELOAD
            )
        except OutOfMemory as error:
            who = next((one for one in able if one.name == str(error)), None)
            who = who or max(able, key=lambda one: one.needs(case.patches, case.processes))
            able.remove(who)
            excluded.append(who.name)
            continue
        names = [one.name for one in able]
        values = {name: statistics.fmean(process["value"][name] for process in told) for name in names}
        gradients = {name: max(process["gradient"][name] for process in told) for name in names}
        require_equal(str(case), names[0], values, gradients)
        return {name: slowest([process["seconds"][name] for process in told]) for name in names}, excluded
    return {}, excluded


def _measurement(
    case: Case,
    name: str,
    ours: str,
    status: dict[str, str],
    seconds: dict[str, list[float]],
    memory: dict[str, tuple[int, int]],
) -> Measurement:
    where = {"part": case.part, "patches": case.patches, "processes": case.processes, "contender": name}
    if name in status:
        return Measurement(**where, status=status[name])
    extra, total = memory[name]
    compared = ours not in status and name != ours
    return Measurement(
        **where,
        status=MEASURED,
        seconds=quartiles(seconds[name]),
        rounds=len(seconds[name]),
        extra_bytes=extra,
        process_bytes=total,
        times=ratio(seconds[name], seconds[ours]) if compared else None,
        bytes_ratio=extra / memory[ours][0] if compared and memory[ours][0] else None,
    )
