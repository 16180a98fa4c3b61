"""The targets are judged from the measurements, whatever these are."""

import pytest

from benchmarks.loss.compare import MEASURED, OUT_OF_MEMORY, Measurement
from benchmarks.loss.contenders import LIGHTLY, METRIC, OURS, RESTATEMENT
from benchmarks.loss.targets import UNABLE, verdicts
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN


def measured(part, patches, contender, times=None, memory=None, process_bytes=10**9, processes=1):
    quartiles = None if times is None else {"median": times, "q1": times, "q3": times}
    return Measurement(
        part, patches, processes, contender, MEASURED, {"median": 1.0}, 3, 10**6, process_bytes, quartiles, memory
    )


def unable(part, patches, contender, status="needs 43 GB", processes=1):
    return Measurement(part, patches, processes, contender, status)


def judged(*measurements):
    return {one.target.split(":")[0] + "|" + one.target: one for one in verdicts(measurements)}


def the(found, *words):
    (one,) = [one for one in found.values() if all(word in one.target for word in words)]
    return one


def test_nothing_measured():
    found = judged(measured("weaksupcon", 512, OURS))
    assert {one.verdict for one in found.values()} == {UNKNOWN}


@pytest.mark.parametrize(("times", "memory", "fast", "small"), [(8.1, 20, REACHED, REACHED), (7.9, 10, MISSED, MISSED)])
def test_speed_and_memory_at_8192(times, memory, fast, small):
    found = judged(measured("weaksupcon", 8192, OURS), measured("weaksupcon", 8192, RESTATEMENT, times, memory))
    assert the(found, "8x faster").verdict == fast
    assert the(found, "7% of").verdict == small
    assert the(found, "7% of").figures == {20: "5.0%", 10: "10%"}[memory]
    found = judged(measured("similarity", 8192, OURS), measured("similarity", 8192, RESTATEMENT, 400, 20))
    assert the(found, "500x").verdict == MISSED


def test_the_largest_batch():
    plain = unable("weaksupcon", 32_768, RESTATEMENT)
    assert the(judged(measured("weaksupcon", 32_768, OURS), plain), "32,768").verdict == REACHED
    large = measured("weaksupcon", 32_768, OURS, process_bytes=3 * 10**9)
    assert the(judged(large, plain), "32,768").verdict == MISSED
    assert the(judged(unable("weaksupcon", 32_768, OURS, OUT_OF_MEMORY), plain), "32,768").verdict == MISSED


def test_ahead_of_the_libraries_in_every_size():
    ours = [measured("contrastive", patches, OURS) for patches in (1024, 2048, 4096)]
    theirs = [
        measured("contrastive", 1024, LIGHTLY, 0.5, 0.5),  # below where it counts
        measured("contrastive", 2048, LIGHTLY, 1.5, 3.0),
        unable("contrastive", 4096, LIGHTLY),
        unable("contrastive", 2048, METRIC, "needs 170 GB"),
    ]
    found = judged(*ours, *theirs)
    assert the(found, "NT-Xent", "lightly") == (
        the(found, "NT-Xent", "lightly").target,
        REACHED,
        "at least 1.50x faster, 3.00x smaller; it: needs 43 GB at 4,096",
    )
    assert the(found, "NT-Xent", "metric").verdict == UNABLE
    assert "needs 170 GB at 2,048" in the(found, "NT-Xent", "metric").figures
    assert the(found, "SupCon", "metric").verdict == UNKNOWN
    theirs[1] = measured("contrastive", 2048, LIGHTLY, 1.5, 0.9)
    assert the(judged(*ours, *theirs), "NT-Xent", "lightly").verdict == MISSED
