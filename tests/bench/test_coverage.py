"""The coverage benchmark's cohorts have the difference that it counts with, and the command leaves its page."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from benchmarks.coverage.__main__ import main
from benchmarks.coverage.simulate import SCENARIOS, draw
from tests.conftest import invoke
from wsc_ray.evaluate.metrics import measure

run_main = partial(invoke, program=main)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_the_truth_is_the_mean_of_many_cohorts(scenario) -> None:
    large = replace(scenario, patients=1000)
    found = []
    for number in range(40):
        pairing = draw(large, np.random.default_rng(number))
        one, other = (measure(pairing.labels, each.members.ensemble(), pairing.classes) for each in pairing.results)
        found.append([(one[name] - other[name])[0] for name in large.truth()])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / 40**0.5
    for value, expected, spread in zip(mean, large.truth().values(), error, strict=True):
        assert value == pytest.approx(expected, abs=4 * spread)


def test_the_command_leaves_a_summary_and_a_page(tmp_path) -> None:
    result = run_main(
        *("--out", tmp_path / "out", "--repetitions", "2", "--samples", "100", "--markdown", tmp_path / "page.md")
    )
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["results"]) == 2 * len(SCENARIOS)
    assert len(summary["targets"]) == sum(scenario.judged for scenario in SCENARIOS)
    page = (tmp_path / "page.md").read_text()
    assert all(scenario.name in page for scenario in SCENARIOS)
    assert run_main("--out", tmp_path / "out", "--repetitions", "0").exit_code == 2
