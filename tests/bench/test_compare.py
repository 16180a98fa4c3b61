"""One case: who is left out for memory, and that a contender that computes something else stops the benchmark."""

import pytest

from benchmarks.loss.compare import MEASURED, OUT_OF_MEMORY, _times, measure_case
from benchmarks.loss.contenders import CONTENDERS, METRIC, OURS, RESTATEMENT
from benchmarks.loss.equal import UnequalError, require_equal
from benchmarks.loss.measure import Case

from . import others

NTXENT = CONTENDERS["contrastive"][0]


def measure(case, contenders, limit=1e9):
    return {one.contender: one for one in measure_case(case, contenders, repeats=2, threads=1, limit=limit)}


@pytest.mark.parametrize(("wrong", "said"), [(others.WRONG_VALUE, "the value of"), (others.WRONG_GRADIENT, "gradient")])
def test_a_contender_that_computes_something_else(wrong, said):
    with pytest.raises(UnequalError, match=f"contrastive, 32 patches, 1 process: .*{said}.*{wrong.name}|{said} wrong"):
        measure(Case("contrastive", 32, 8, 1), [NTXENT, wrong])


def test_not_a_number_is_not_equal():
    with pytest.raises(UnequalError):
        require_equal("x", "a", {"a": float("nan"), "b": float("nan")}, {})
    with pytest.raises(UnequalError):
        require_equal("x", "a", {"a": 1.0, "b": 1.0}, {"b": float("nan")})
    require_equal("x", "a", {"a": 1.0, "b": 1.00005}, {"b": 5e-5})


def test_who_needs_too_much_says_so_and_the_others_are_measured():
    contenders = [NTXENT, others.HOLDING, others.GREEDY, others.FORESEEN]
    found = measure(Case("contrastive", 256, 8, 1), contenders)
    assert list(found) == [one.name for one in contenders]
    assert found["greedy"].status == OUT_OF_MEMORY
    assert found["foreseen"].status == "needs 262,144 GB"
    assert found["foreseen"].seconds is None
    holding, ours = found["holding"], found[OURS]
    assert holding.status == ours.status == MEASURED
    assert holding.rounds == ours.rounds == 2
    assert holding.extra_bytes == pytest.approx(80e6, rel=0.1)
    assert holding.bytes_ratio == pytest.approx(holding.extra_bytes / ours.extra_bytes)
    assert holding.process_bytes > holding.extra_bytes
    assert ours.times is None


@pytest.mark.parametrize("processes", [1, 2])
def test_memory_that_runs_out_beside_the_others_leaves_one_out(processes):
    case = Case("contrastive", 512, 8, processes)
    seconds, excluded = _times(case, [NTXENT, others.GREEDY], 2, 2, 1e9)
    assert excluded == ["greedy"]
    assert [len(times) for times in seconds.values()] == [2]


def test_needs_grow_with_the_batch_and_with_processes_that_all_compute_everything():
    plain, metric = CONTENDERS["contrastive"][1], CONTENDERS["contrastive"][3]
    assert (plain.name, metric.name) == (RESTATEMENT, METRIC)
    assert plain.needs(2048, 1) == 4 * plain.needs(1024, 1)
    assert metric.needs(2048, 2) == 2 * 8 * metric.needs(1024, 1)
    assert NTXENT.needs(10**6, 1) == 0
