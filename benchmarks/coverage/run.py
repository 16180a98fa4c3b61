"""Draws cohorts, compares two results of each, and counts how often the interval covers the true difference."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.coverage.page import page, table_of
from benchmarks.coverage.simulate import SCENARIOS, Scenario, draw
from wsc_ray.bench.environment import commit, describe_machine, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.bench.verdict import MISSED, REACHED, Verdict
from wsc_ray.errors import UserError
from wsc_ray.evaluate.compare import Pairing, compare
from wsc_ray.evaluate.delong import delong
from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.files import atomic, write_summary
from wsc_ray.progress import Progress

COMMAND = "benchmarks.coverage"
METRICS = ("auroc", "balanced_accuracy")
WANTED = (0.93, 0.97)
LEVEL = 0.95
OURS, SLIDES_APART, ONE_FIT = "patients and members", "slides as if independent", "members as if one fit"


def measure_coverage(
    *, out: str | Path, repetitions: int, samples: int, seed: int, markdown: str | Path | None
) -> dict[str, Any]:
    """Measure how often 95% intervals cover the true difference in each scenario.

    Args:
        out: folder for `summary.json`.
        repetitions: number of cohorts of each scenario.
        samples: number of bootstrap samples per interval.
        seed: seed of the cohorts and of the bootstrap.
        markdown: file for the whole page.

    Raises:
        UserError: an option is invalid, or the folder holds something else.
    """
    if repetitions < 1 or samples < 100:
        raise UserError("give 1 repetition at least, and 100 samples")
    folder = require_folder(out, COMMAND)
    file = require_file(markdown) if markdown is not None else None
    options = {"out": out, "repetitions": repetitions, "samples": samples, "seed": seed}
    started = time.time()
    with Progress("coverage", len(SCENARIOS) * repetitions, unit="cohorts") as progress:
        found = [_scenario(each, repetitions, samples, seed, progress) for each in SCENARIOS]
    verdicts = [_verdict(one) for one, scenario in zip(found, SCENARIOS, strict=True) if scenario.judged]
    summary = {
        "results": [
            {
                "name": f"{one['name']}, {metric}",
                "value": one["covered"][OURS][metric],
                "unit": "1",
                "baseline": LEVEL,
                "ratio": None,
            }
            for one in found
            for metric in METRICS
        ],
        "scenarios": found,
        "targets": [verdict._asdict() for verdict in verdicts],
        "settings": options,
        "seconds": round(time.time() - started, 1),
        "machine": describe_machine(1),
        "versions": versions(["wsc-ray", "numpy", "scipy"]),
        "commit": commit(),
        "invocation": invocation(f"python -m {COMMAND}", options, markdown),
        "table": table_of(found),
    }
    written = write_summary(folder, COMMAND, summary)
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(written, verdicts))
    return written


def _scenario(scenario: Scenario, repetitions: int, samples: int, seed: int, progress: Progress) -> dict[str, Any]:
    ways = [OURS]
    if scenario.forgetting:
        ways += [SLIDES_APART, *([ONE_FIT] if scenario.members > 1 else [])]
    truth, covered = scenario.truth(), {way: dict.fromkeys(METRICS, 0) for way in ways}
    widths = {way: dict.fromkeys(METRICS, 0.0) for way in ways}
    rejected = 0
    level = replace(scenario, deltas=(scenario.deltas[1], scenario.deltas[1]), skill=0.0, noise=0.0)
    for number in range(repetitions):
        rng = np.random.default_rng([seed, SCENARIOS.index(scenario), number])
        pairing = draw(scenario, rng)
        for way in ways:
            _, differences = compare(_taken(pairing, way), samples=samples, confidence=LEVEL, seed=number)
            for each in differences:
                if each.metric in METRICS and each.low is not None and each.high is not None:
                    covered[way][each.metric] += each.low <= truth[each.metric] <= each.high
                    widths[way][each.metric] += (each.high - each.low) / repetitions
        same = draw(level, rng)
        scores = np.stack([result.members.ensemble()[:, 1] for result in same.results])
        rejected += delong(same.labels == 1, scores, same.patients).p_value(0, 1) < 1 - LEVEL
        progress.advance(1, scenario.name)
    return {
        "name": scenario.name,
        "truth": truth,
        "covered": {way: {metric: n / repetitions for metric, n in each.items()} for way, each in covered.items()},
        "widths": widths,
        "delong_rejects": rejected / repetitions,
        "repetitions": repetitions,
    }


def _taken(pairing: Pairing, way: str) -> Pairing:
    """Return the same results as if patients, or seeds, were ignored."""
    if way == SLIDES_APART:
        return replace(pairing, patients=pairing.slides)
    if way == ONE_FIT:
        one = [MemberPredictions(("mean",), (0,), (None,), each.members.ensemble()[None]) for each in pairing.results]
        results = tuple(replace(each, members=mean) for each, mean in zip(pairing.results, one, strict=True))
        return replace(pairing, results=results)
    return pairing


def _verdict(found: dict[str, Any]) -> Verdict:
    low, high = WANTED
    covered: Sequence[float] = [found["covered"][OURS][metric] for metric in METRICS]
    target = f"{found['name']}: the 95% interval covers the difference in {low:.0%} to {high:.0%}"
    error = math.sqrt(LEVEL * (1 - LEVEL) / found["repetitions"])
    figures = ", ".join(f"{metric} {value:.1%}" for metric, value in zip(METRICS, covered, strict=True))
    good = all(low <= value <= high for value in covered)
    return Verdict(target, REACHED if good else MISSED, f"{figures} (standard error {error:.1%})")
