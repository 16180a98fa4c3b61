"""Checking the options, timing every size of bags, printing and saving the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import spread, times
from benchmarks.mil.contenders import (
    ATTENTION,
    BAGS_PER_STEP,
    DROPOUT,
    FEATURES,
    HIDDEN,
    PACKED,
    PADDED,
    SINGLE,
    contenders,
    make_bags,
)
from benchmarks.mil.search import EPOCHS, FLAT, PATCHES, SLIDES, measure_search
from benchmarks.mil.search import FEATURES as SEARCHED
from benchmarks.timing import calls_for, quartiles, ratio, time_rounds
from wsc_ray.bench.environment import commit, describe_machine, unquiet, versions
from wsc_ray.bench.markdown import digits, environment, table
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.verdict import MISSED, REACHED, Verdict, targets
from wsc_ray.errors import ResourceError, UserError
from wsc_ray.files import atomic, write_summary
from wsc_ray.progress import Progress

COMMAND = "benchmarks.mil"
SIZES = {"20-100": (20, 100), "20-500": (20, 500), "200-5000": (200, 5000)}  # instances of a bag
LEAST = {"20-100": 3.0, "20-500": 1.0, "200-5000": 1.0}  # times torchmil's slides a second, one bag at a time


def measure_epochs(
    *, out: str | Path, slides: int, rounds: int, trials: int, threads: int, markdown: str | Path | None, quick: bool
) -> dict[str, Any]:
    """Slides a second of an epoch, packed and as torchmil trains.

    Args:
        out: folder for `summary.json`.
        slides: of an epoch.
        rounds: in each of which every contender has a turn.
        trials: of a search whose memory is watched; 0: none.
        threads: torch's; a trial of `tune` has one.
        markdown: a file for the whole page.
        quick: few and small bags; the figures mean nothing.

    Returns:
        The summary, also in `OUT/summary.json`: `measurements`, `targets`, machine, versions, commit, and the tables as text in
        `table`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or torchmil is not installed.
    """
    folder = require_folder(out, COMMAND)
    file = None if markdown is None else require_file(markdown)
    if min(slides, rounds, threads) < 1:
        raise UserError("--slides, --rounds and --threads are 1 at least")
    if trials < 0:
        raise UserError("--trials is 0 at least")
    settings = {"slides": slides, "rounds": rounds, "trials": trials, "threads": threads, "quick": quick}
    state, load = commit(), os.getloadavg()[0]
    torch.set_num_threads(threads)
    measurements = []
    with Progress(COMMAND, len(SIZES), unit="sizes") as progress:
        for name, (low, high) in SIZES.items():
            measurements.append(_measure(name, 4 if quick else slides, (2, 9) if quick else (low, high), rounds))
            progress.advance(1, name)
    searched = measure_search(trials) if trials else None
    judged = [] if quick else [_verdict(one) for one in measurements] + _flat(searched)
    notes = ["quick: the figures mean nothing"] if quick else unquiet(load, threads)
    summary = {
        "measurements": measurements,
        "search": searched,
        "targets": [one._asdict() for one in judged],
        "machine": describe_machine(threads),
        "versions": versions(("wsc-ray", "torch", "torchmil")),
        "commit": state,
        "invocation": invocation(f"python -m {COMMAND}", {"out": out, **settings}, markdown),
        "settings": settings,
        "notes": notes,
        "table": "\n\n".join(
            [_table(measurements), *_search_lines(searched), *([targets(judged)] if judged else []), *notes]
        ),
    }
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(_page(summary, judged))
    return write_summary(folder, COMMAND, summary)


def _measure(name: str, slides: int, instances: tuple[int, int], rounds: int) -> dict[str, Any]:
    bags = make_bags(slides, *instances)
    try:
        epochs = contenders(bags)
    except ImportError:
        raise ResourceError("torchmil is not installed; pip install '.[dev]'") from None
    first = time_rounds(epochs, 1, dict.fromkeys(epochs, 1), lambda: None)  # warms up, and says how long one takes
    calls = {contender: calls_for(seconds[0]) for contender, seconds in first.items()}
    samples = time_rounds(epochs, rounds, calls, lambda: None)
    return {
        "instances": name,
        "slides": slides,
        "patches": len(bags.features),
        "seconds": {contender: quartiles(each) for contender, each in samples.items()},
        "ratios": {other: ratio(samples[other], samples[PACKED]) for other in (SINGLE, PADDED)},
    }


def _verdict(one: Mapping[str, Any]) -> Verdict:
    name, least = one["instances"], LEAST[one["instances"]]
    found = one["ratios"][SINGLE]["median"]
    target = f"bags of {name}: at least {least:g}x torchmil's slides a second, one bag at a time"
    return Verdict(target, REACHED if found >= least else MISSED, times(found))


def _flat(searched: Mapping[str, Any] | None) -> list[Verdict]:
    """Whether the memory of a search stays what it was."""
    if searched is None:
        return []
    verdicts = []
    for name in ("driver", "workers"):
        found = searched[name]["growth"]
        target = f"{searched['trials']} trials: resident memory of the {name} flat within {FLAT:.0%}"
        verdicts.append(Verdict(target, REACHED if found <= FLAT else MISSED, f"{found:+.1%}"))
    return verdicts


def _search_lines(searched: Mapping[str, Any] | None) -> list[str]:
    if searched is None:
        return []
    sizes = [
        [name, *(f"{searched[name][part]:,.0f} MB" for part in ("second", "last"))] for name in ("driver", "workers")
    ]
    return [
        f"{searched['trials']} trials of attention-MIL and mean pooling in turn, {EPOCHS} epochs at most, on {SLIDES} slides of "
        f"{PATCHES[0]}-{PATCHES[1]} patches of {SEARCHED} features: {searched['seconds']:.0f} s, {searched['per_minute']:.0f} trials a "
        "minute. Resident memory, medians of quarters of that time (the first has imports):",
        table(["process", "second quarter", "last quarter"], sizes),
    ]


def _table(measurements: Sequence[Mapping[str, Any]]) -> str:
    header = ["instances of a bag", "slides", "patches", *(f"{name}, an epoch" for name in (PACKED, SINGLE, PADDED))]
    rows = []
    for one in measurements:
        cells = []
        for name in (PACKED, SINGLE, PADDED):
            took = one["seconds"][name]
            rate = f"{digits(one['slides'] / took['median'])} slides/s"
            times_ours = f", {times(one['ratios'][name]['median'])}" if name != PACKED else ""
            cells.append(f"{spread(took['median'], took['q1'], took['q3'])}, {rate}{times_ours}")
        rows.append([one["instances"], f"{one['slides']:,}", f"{one['patches']:,}", *cells])
    return table(header, rows)


def _page(summary: Mapping[str, Any], judged: Sequence[Verdict]) -> str:
    sections = [
        "# An epoch of attention-MIL",
        f"Gated attention-MIL over {FEATURES} features (embedding {HIDDEN}, attention {ATTENTION}, dropout {DROPOUT:g}), AdamW, "
        f"float32, random bags. `{PACKED}` is what `tune` does: {BAGS_PER_STEP} bags a step, one after the other without padding. "
        f"`{SINGLE}` is torchmil's ABMIL in the loop of its examples; `{PADDED}` takes {BAGS_PER_STEP} bags a step, each filled up "
        "with zeros to the longest. One bag a step takes more optimizer steps an epoch, which is part of its cost and not the same "
        "training.",
        f"To repeat it: `pip install '.[dev]'`, then `{summary['invocation']}` on a quiet machine.",
        environment(summary),
        *summary["notes"],
        "## Targets",
        targets(judged),
        "## Measured",
        "Time is the median (first to third quartile) of interleaved rounds; `3.10x` behind a figure: so many times ours, the "
        "median of the rounds' ratios.",
        _table(summary["measurements"]),
        *(["## A search of many trials", *_search_lines(summary["search"])] if summary["search"] else []),
    ]
    return "\n\n".join(sections) + "\n"
