"""From steps to figures, and from figures to a projection: properties that any measurement has."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.bench.scaling.figures import Setting, as_row, base_of, efficiency, figures
from wsc_ray.bench.scaling.plan import settings_of, with_strong_base
from wsc_ray.bench.scaling.project import Network, Step, project
from wsc_ray.bench.scaling.promise import gathered_bytes, promise, reduced_bytes
from wsc_ray.bench.scaling.targets import verdicts
from wsc_ray.bench.verdict import MISSED, REACHED, UNKNOWN
from wsc_ray.pretrain.clock import PHASES

seconds = st.floats(1e-4, 10)


def rows(step_seconds, *, patches=8, workers=1, **more):
    """Of workers that take the same time for each step, a fifth of it in each phase."""
    return [
        {"step": step, "rank": rank, "patches": patches, **dict.fromkeys(PHASES, took / 5), **more}
        for step, took in enumerate(step_seconds)
        for rank in range(workers)
    ]


@given(st.lists(seconds, min_size=2, max_size=20), st.integers(1, 4))
def test_rates_and_shares(times, workers):
    one = figures(Setting("weak", "training", workers, 8 * workers), rows(times, workers=workers), range(1, 99), None)
    kept = times[1:]
    assert one.rate == pytest.approx(8 * workers * len(kept) / sum(kept))
    assert one.rate_per_worker == pytest.approx(one.rate / workers)
    assert sum(one.shares.values()) == pytest.approx(1)
    rounding = 1 + 1e-9  # of a step cut into fifths and added up again
    assert min(kept) <= one.p50 * rounding
    assert one.p50 <= one.p95 * rounding
    assert one.p95 <= max(kept) * rounding
    assert efficiency(one, one) == 1


def test_a_step_takes_as_long_as_its_slowest_worker():
    fast, slow = rows([1.0, 1.0]), [row | {"rank": 1} for row in rows([1.0, 3.0])]
    assert figures(Setting("weak", "training", 2, 16), [*fast, *slow], range(1, 99), 0).rate == pytest.approx(16 / 3)


def test_workers_that_only_receive_do_not_wait_for_each_other():
    one = rows([1.0, 3.0])
    other = [row | {"rank": 1} for row in rows([3.0, 1.0])]
    assert figures(Setting("weak", "data", 2, 16), [*one, *other], range(9), 0).rate == pytest.approx(32 / 4)
    assert figures(Setting("weak", "training", 2, 16), [*one, *other], range(9), 0).rate == pytest.approx(32 / 6)


def test_a_machine_that_slows_down_between_rounds_does_not_change_the_efficiency():
    def measured(workers, times):
        found = [row | {"run": run} for run, took in enumerate(times) for row in rows([took] * 3, workers=workers)]
        return figures(Setting("weak", "training", workers, 8 * workers), found, range(99), None)

    one, two = measured(1, [1.0, 2.0, 9.0]), measured(2, [1.25, 2.5, 9.0])
    assert one.rates == pytest.approx((8, 4, 8 / 9))
    assert (one.rate, two.rate) == pytest.approx((4, 6.4))
    assert efficiency(two, one) == pytest.approx(0.8)


def test_a_step_that_logs_sends_more_and_is_not_the_usual_one():
    found = rows([1.0] * 4, loss_bytes=10, gradient_bytes=4)
    found[-1]["loss_bytes"] = 500
    assert figures(Setting("weak", "training", 2, 16), found, range(1, 99), 0).loss_bytes == 10


def test_strong_scaling_keeps_the_batch_and_starts_from_the_fewest_workers():
    settings = [setting for count in (2, 4) for setting in settings_of(["training"], count, 2, 8)]
    assert [(one.mode, one.workers, one.batch_size) for one in settings] == [
        ("weak", 2, 16),
        ("weak", 4, 32),
        ("strong", 4, 16),
    ]
    found = with_strong_base([figures(one, rows([1.0] * 3, workers=one.workers), range(99), None) for one in settings])
    for one in found:
        assert base_of(found, one).setting.workers == 2
        assert as_row(one, found)["efficiency"] == pytest.approx(1)


steps = st.builds(
    Step,
    patches=st.integers(1, 512),
    encode=seconds,
    loss=st.floats(0, 1),
    optimizer=st.floats(0, 1),
    gathered=st.floats(0, 1e8),
    reduced=st.floats(0, 1e6),
    gradient=st.floats(0, 1e9),
)
networks = st.builds(Network, latency=st.floats(0, 1e-3), bandwidth=st.floats(1e6, 1e12))


@given(steps, networks)
def test_a_projection_loses_with_more_workers_and_never_gains(step, network):
    found = [project(step, network, count, patches=1e6, dollars_an_hour=2.0) for count in (1, 2, 8, 64)]
    assert found[0].efficiency == pytest.approx(1)
    for fewer, more in pairwise(found):
        assert more.efficiency <= fewer.efficiency + 1e-9
        assert more.step >= fewer.step - 1e-12
        assert more.hours * more.rate == pytest.approx(1e6 / 3600)
        assert more.price == pytest.approx(2.0 * more.workers * more.hours)


def test_rings_send_every_byte_but_ones_own():
    """The textbook's figures: 4 workers, 1 GB/s, no latency."""
    network = Network(0.0, 1e9)
    assert network.all_reduce(4e9, 4) == pytest.approx(6.0)
    assert network.all_gather(1e9, 4) == pytest.approx(3.0)


def test_one_worker_sends_nothing():
    settings = {"backbone": "test_resnet", "crop": 32}
    assert promise(settings, Setting("weak", "training", 1, 32)) == (0, 0)
    loss, gradients = promise(settings, Setting("weak", "training", 2, 64))
    assert loss == gathered_bytes(16, 128) + reduced_bytes(128) == 16 + 2 * 16 * 128 * 4 + 2 * 16 * 4 + 129 * 4
    assert gradients > 0


def test_targets():
    def trained(workers, took, sent):
        found = rows([took] * 3, workers=workers, loss_bytes=sent, gradient_bytes=4)
        return figures(Setting("weak", "training", workers, 8 * workers), found, range(99), None)

    promised = {(16, 2): (100, 4), (8, 1): (0, 0)}
    good = verdicts([trained(1, 1.0, 0), trained(2, 1.05, 100)], promised, 2)
    assert [one.verdict for one in good] == [REACHED, REACHED]
    bad = verdicts([trained(1, 1.0, 0), trained(2, 1.5, 101)], promised, 2)
    assert [one.verdict for one in bad] == [MISSED, MISSED]
    assert [one.verdict for one in verdicts([trained(1, 1.0, 0)], promised, 2)] == [UNKNOWN, UNKNOWN]
