"""The measure of mixing, in cases with known answers."""

import numpy as np
import pytest

from wsc_ray.stream.class_order import whole_groups
from wsc_ray.stream.mixing import imaginary_runs, measure_mixing, mixing_of
from wsc_ray.stream.order import Geometry


def mixing(window, shards=4, slides=None, row_group_rows=10):
    slides = slides or imaginary_runs(20, 96, row_group_rows)
    lines = whole_groups(np.bincount(slides.group, weights=slides.rows))
    steps = lines.total // 16
    order = Geometry(seed=1, sampling="epoch", batch_size=32, shards=shards, steps=steps, window=window)
    return measure_mixing(order, lines, slides)


def test_imaginary_runs_fill_row_groups_and_slides():
    runs = imaginary_runs(20, 96, 10)
    assert set(np.bincount(runs.group, weights=runs.rows)) == {10}
    assert set(np.bincount(runs.source, weights=runs.rows)) == {96}
    assert (runs.start + runs.rows <= 10).all()


def test_one_slide_is_all_of_a_batch_however_shuffled():
    found = mixing(2, slides=imaginary_runs(1, 160, 10))
    assert found["slides"] == found["shuffled_slides"] == found["ratio"] == 1
    assert found["largest_share"] == found["shuffled_largest_share"] == 1


def test_one_shard_and_steps_of_a_row_group_take_a_slide_at_a_time():
    found = mixing(1, shards=1, slides=imaginary_runs(20, 96, 16))
    assert found["slides"] == 1
    assert found["largest_share"] == 1
    assert found["shuffled_slides"] > 8


def test_a_window_of_the_whole_epoch_mixes_each_shard_perfectly():
    found = mixing(120, shards=1)
    assert found["ratio"] == pytest.approx(1, abs=0.02)
    assert found["largest_share"] == pytest.approx(found["shuffled_largest_share"], rel=0.1)


def test_longer_windows_mix_better():
    ratios = [mixing(window)["ratio"] for window in (1, 4, 16)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.8 * ratios[-1]


def test_expected_slides_of_a_shuffled_order():
    """16 draws from 20 equal slides: 20 (1 - C(1824, 16) / C(1920, 16)) different ones."""
    missing = np.prod([(1920 - 96 - k) / (1920 - k) for k in range(16)])
    assert mixing(2)["shuffled_slides"] == pytest.approx(20 * (1 - missing), rel=0.03)


def test_batches_of_any_source_are_measured_against_their_own_shuffle():
    """Two batches of one slide each: whole slides apart, or mixed."""
    apart = mixing_of([np.zeros(500, np.int64), np.ones(500, np.int64)], seed=0)
    assert apart["slides"] == apart["largest_share"] == 1
    assert apart["shuffled_slides"] == 2
    assert apart["ratio"] == 0.5
    assert apart["shuffled_largest_share"] == pytest.approx(0.5, abs=0.06)
    mixed = mixing_of([np.arange(500) % 2, np.arange(500) % 2], seed=0)
    assert mixed["ratio"] == 1
    assert mixed["largest_share"] == 0.5
