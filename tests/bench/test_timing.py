"""Interleaving, quartiles and ratios."""

import pytest

from benchmarks import timing
from wsc_ray.bench.rounds import rotations


def test_everybody_goes_first_in_turn():
    orders = rotations(["a", "b", "c"], 6)
    assert [order[0] for order in orders] == ["a", "b", "c"] * 2
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_each_round_times_everybody_once():
    trace = []
    steps = {name: lambda name=name: trace.append(name) for name in "ab"}
    samples = timing.time_rounds(steps, 3, {"a": 2, "b": 1}, lambda: trace.append("|"))
    assert "".join(trace) == "|aa|b|b|aa|aa|b"
    assert {name: len(times) for name, times in samples.items()} == {"a": 3, "b": 3}


def test_short_calls_are_repeated_and_long_ones_not():
    assert timing.calls_for(1.0) == 1
    assert timing.calls_for(0.004) == 5
    assert timing.calls_for(0.0) == timing.MOST_CALLS


def test_long_rounds_are_few():
    assert timing.rounds_for(0.01, 20) == 20
    assert timing.rounds_for(timing.BUDGET / 7.5, 20) == 7
    assert timing.rounds_for(1000, 20) == timing.FEWEST_ROUNDS
    assert timing.rounds_for(1000, 1) == 1


def test_the_slowest_process_ends_the_round():
    assert timing.slowest([[1.0, 5.0], [2.0, 4.0]]) == [2.0, 5.0]


def test_quartiles_and_ratios():
    assert timing.quartiles([3.0]) == {"median": 3.0, "q1": 3.0, "q3": 3.0}
    assert timing.quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    # the median of ratios, not the ratio of medians: a slow round slows both
    assert timing.ratio([8.0, 80.0, 8.0], [1.0, 10.0, 2.0])["median"] == pytest.approx(8.0)
