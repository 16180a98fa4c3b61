"""Checking the options, measuring every case, printing and saving the tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.loss.batch import PARTS
from benchmarks.loss.compare import Measurement, measure_case
from benchmarks.loss.contenders import OURS, PACKAGES, contenders, is_installed
from benchmarks.loss.measure import Case, case_name
from benchmarks.loss.page import LEGEND, page, tables
from benchmarks.loss.targets import verdicts
from wsc_ray.bench.environment import commit, describe_machine, unquiet, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.verdict import targets
from wsc_ray.errors import ResourceError, UserError
from wsc_ray.files import atomic, write_summary
from wsc_ray.progress import Progress

COMMAND = "benchmarks.loss"
MEMORY_LIMIT = 16.0  # GB


def measure_losses(
    *,
    out: str | Path,
    batches: Sequence[int],
    processes: Sequence[int],
    dim: int,
    repeats: int,
    threads: int | None,
    memory_limit: float | None,
    markdown: str | Path | None,
) -> dict[str, Any]:
    """Time and peak memory of our losses, of plain restatements, and of lightly's and pytorch-metric-learning's.

    Args:
        out: folder for `summary.json`.
        batches: global batches in patches, half of them pure, half mixed.
        processes: how many processes share the batch, each number in turn.
        dim: length of a feature.
        repeats: rounds where they fit into 45 seconds; fewer, but 3 at the least, where they do not.
        threads: torch's, over all processes; None takes every core.
        memory_limit: GB that a contender may need beyond its input; None is 16, or 80% of what is free if that is less.
        markdown: a file for the whole page.

    Returns:
        The summary, also in `OUT/summary.json`: `results`, a list of {name, value, unit, baseline, ratio} with ratio =
        baseline / value (above 1 we need less), `measurements` with quartiles, `targets`, machine, versions, commit,
        and the tables as text in `table`.

    Raises:
        UserError: an option that cannot be, or a folder that is taken.
        UnequalError: two contenders do not compute the same.
        CrewError: a process failed otherwise than for memory.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    threads = usable_cores() if threads is None else threads
    free = psutil.virtual_memory().available / 1e9
    memory_limit = round(min(MEMORY_LIMIT, 0.8 * free), 1) if memory_limit is None else memory_limit
    batches, processes = sorted(set(batches)), sorted(set(processes))
    _check(batches, processes, dim, repeats, threads, memory_limit)
    settings = {
        "batches": batches,
        "processes": processes,
        "dim": dim,
        "repeats": repeats,
        "threads": threads,
        "memory_limit": memory_limit,
    }
    state, load = commit(), os.getloadavg()[0]  # as they were when the work started

    measurements: list[Measurement] = []
    cases = [Case(part, patches, dim, count) for count in processes for patches in batches for part in PARTS]
    with Progress(COMMAND, len(cases), unit="cases") as progress:
        for case in cases:
            measurements += measure_case(
                case, contenders(case.part), repeats=repeats, threads=threads, limit=memory_limit * 1e9
            )
            progress.advance(1, str(case))

    judged = verdicts(measurements)
    notes = [*_notes(), *unquiet(load, threads)]
    summary = {
        "results": [row for one in measurements if one.contender != OURS for row in _rows(one, measurements)],
        "targets": [one._asdict() for one in judged],
        "measurements": [one.as_json() for one in measurements],
        "machine": describe_machine(threads),
        "versions": versions(("wsc-ray", "torch", *PACKAGES)),
        "commit": state,
        "invocation": invocation(f"python -m {COMMAND}", {"out": out, **settings}, markdown),
        "settings": settings,
        "notes": notes,
        "table": "\n\n".join([tables(measurements), LEGEND, targets(judged), *notes]),
    }
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary, measurements, judged))
    return write_summary(folder, COMMAND, summary)


def _notes() -> list[str]:
    """A line for each library whose rows are left out."""
    return [
        f"{name} is not installed, so that its rows are left out: pip install '.[bench]'"
        for name in PACKAGES
        if not is_installed(name)
    ]


def _rows(rival: Measurement, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Our time and memory against one rival's in one case."""
    ours = next(
        one
        for one in measurements
        if one.contender == OURS
        and (one.part, one.patches, one.processes) == (rival.part, rival.patches, rival.processes)
    )
    where = f"{case_name(rival.part, rival.patches, rival.processes)}, against {rival.contender}"
    median = {one.contender: one.seconds["median"] if one.seconds else None for one in (ours, rival)}
    megabytes = {
        one.contender: None if one.extra_bytes is None else round(one.extra_bytes / 1e6, 3) for one in (ours, rival)
    }
    return [
        {
            "name": f"{where}: {what}",
            "value": values[OURS],
            "unit": unit,
            "baseline": values[rival.contender],
            "ratio": r,
        }
        for what, unit, values, r in (
            ("time", "s", median, rival.times["median"] if rival.times else None),
            ("peak extra memory", "MB", megabytes, rival.bytes_ratio),
        )
    ]


def _check(
    batches: Sequence[int], processes: Sequence[int], dim: int, repeats: int, threads: int, memory_limit: float
) -> None:
    if not batches or not processes:
        raise UserError("--batches and --processes name at least one number each")
    if min(processes) < 1:
        raise UserError(f"--processes must be 1 or more, not {min(processes)}")
    for patches in batches:
        for count in processes:
            # two patches of each half in every process, so that every view has pairs
            if patches < 4 * count or patches % (2 * count):
                raise UserError(
                    f"--batches {patches}: half of it is shared by {count} processes, so that it must be a multiple "
                    f"of {2 * count}, from {4 * count}"
                )
    for option, value in (("dim", dim), ("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise UserError(f"--{option} must be 1 or more, not {value}")
    if threads < max(processes) or threads > usable_cores():
        raise ResourceError(
            f"--threads {threads}: give one to each of {max(processes)} processes at least, "
            f"and no more than the {usable_cores()} cores there are"
        )
    total = psutil.virtual_memory().total / 1e9
    if not 0 < memory_limit <= total:
        raise ResourceError(
            f"--memory-limit {memory_limit:g}: must be above 0 and at most the {total:.1f} GB there are"
        )
