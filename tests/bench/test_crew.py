"""Processes: what they return, how they fail, that they are ended; memory inside them."""

import multiprocessing
import time

import pytest

from benchmarks.crew import CrewError, OutOfMemory, run_crew

from . import others


@pytest.fixture(autouse=True)
def nobody_is_left():
    before = set(multiprocessing.active_children())  # other tests' gangs
    yield
    assert set(multiprocessing.active_children()) <= before


def test_results_in_rank_order_in_one_group_with_shared_threads():
    assert run_crew(others.whoami, "x", processes=2, threads=2) == [(0, "x", 1, 2), (1, "x", 1, 2)]
    assert run_crew(others.whoami, "x", processes=1, threads=2) == [(0, "x", 2, 1)]


def test_one_failure_ends_all_at_once():
    started = time.monotonic()
    with pytest.raises(CrewError, match="lost"):
        run_crew(others.fail_on_one, processes=2, threads=2)
    assert time.monotonic() - started < 30


def test_no_answer_in_time():
    with pytest.raises(CrewError, match="in time"):
        run_crew(others.sleep, processes=1, threads=1, patience=1)


def test_a_process_that_dies():
    with pytest.raises(OutOfMemory, match="killed"):
        run_crew(others.vanish, processes=1, threads=1)
    with pytest.raises(CrewError, match="status 3"):
        run_crew(others.leave, processes=1, threads=1)


def test_memory_beyond_the_limit():
    with pytest.raises(OutOfMemory):
        run_crew(others.take_too_much, 100_000_000, processes=1, threads=1)


def test_peak_memory_counts_what_is_held_even_where_freed_memory_could_hide_it():
    numbers = 10_000_000
    (found,) = run_crew(others.peaks, numbers, processes=1, threads=1)
    assert found == pytest.approx([4 * numbers] * 2, rel=0.05)
