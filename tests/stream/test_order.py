"""The sample order alone, without Ray."""

import hashlib

import numpy as np
import pytest

from wsc_ray.stream.class_order import equal_sources, whole_groups
from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps, window_picks, worker_patches, worker_shards

SIZES = {PURE: (100, 37, 256, 3, 64), MIXED: (90, 40, 25)}
# (row group, first row, rows, slide, patient): slides of 140, 200, 3 and 117 rows, and of 100, 50 and 5
RUNS = {
    PURE: [
        *[(0, 0, 100, 0, 0), (1, 0, 37, 0, 0), (2, 0, 3, 0, 0), (2, 3, 200, 1, 1), (2, 203, 53, 3, 0)],
        *[(3, 0, 3, 2, 1), (4, 0, 64, 3, 0)],
    ],
    MIXED: [(0, 0, 90, 0, 0), (1, 0, 10, 0, 0), (1, 10, 30, 1, 1), (2, 0, 20, 1, 1), (2, 20, 5, 2, 1)],
}


def lines_of(kind, by="patch"):
    if by == "patch":
        return whole_groups(SIZES[kind])
    group, start, rows, slide, patient = np.array(RUNS[kind]).T
    return equal_sources(group, start, rows, slide if by == "slide" else patient, slide)


def geometry(**changes):
    values = {"seed": 5, "sampling": "epoch", "batch_size": 16, "shards": 4, "steps": 57, "window": 10}
    return Geometry(**{**values, **changes})


def whole_epoch(places, **changes):
    """The geometry of an epoch in which each place of the larger class comes once."""
    steps, rest = epoch_steps(places, changes.get("batch_size", 16) // 2)
    return geometry(steps=steps, rest=rest, **changes)


def epoch_steps_of(order, kind, epoch=0, shards=None, lines=None):
    """For each step (patches of some shards, 2), in the order of the global batch."""
    shards = range(order.shards) if shards is None else shards
    lines = lines or lines_of(kind)
    windows = [window_picks(order, lines, kind, epoch, window, shards) for window in range(order.windows)]
    return [picks for window in windows for picks in window]


def epoch_picks(order, kind, epoch=0, lines=None):
    return np.concatenate(epoch_steps_of(order, kind, epoch, lines=lines))


@pytest.mark.parametrize("places", [8, 9, 15, 16, 23, 455, 456, 457, 463])
@pytest.mark.parametrize("shards", [1, 4, 8])
def test_an_epoch_visits_each_patch_of_the_larger_class_exactly_once(places, shards):
    lines = whole_groups([places // 3, places - places // 3])
    order = whole_epoch(places, shards=shards, window=7)
    picks = epoch_picks(order, PURE, lines=lines)
    assert order.steps == -(-places // 8)
    assert order.patches == len(picks) == places
    assert len(np.unique(picks, axis=0)) == places
    assert (picks[:, 1] < lines.rows[picks[:, 0]]).all()


@pytest.mark.parametrize("places", [8, 9, 15, 16, 23, 455, 456, 457, 463])
def test_every_step_has_as_many_of_each_class_and_none_is_small(places):
    order = whole_epoch(places)
    sizes = [order.size(step) for step in range(order.steps)]
    for kind in (PURE, MIXED):
        assert [len(picks) for picks in epoch_steps_of(order, kind)] == sizes
    assert set(sizes[:-2]) <= {order.half}
    assert order.half // 2 <= min(sizes)
    assert max(sizes) <= order.half
    if order.rest:
        assert 0 <= sizes[-2] - sizes[-1] <= 1
        assert sizes[-2] + sizes[-1] == order.half + places % 8


def test_too_few_patches_make_no_epoch():
    assert epoch_steps(7, 8)[0] == 0


def test_a_given_number_of_steps_repeats_no_patch_and_its_batches_are_full():
    order = geometry(steps=20)
    steps = epoch_steps_of(order, PURE)
    assert [len(picks) for picks in steps] == [8] * 20
    assert len(np.unique(np.concatenate(steps), axis=0)) == 160


def test_the_smaller_class_is_repeated_in_whole_passes():
    picks = epoch_picks(whole_epoch(460), MIXED)
    _, counts = np.unique(picks, axis=0, return_counts=True)
    total = sum(SIZES[MIXED])
    assert len(counts) == total
    assert set(counts) <= {len(picks) // total, len(picks) // total + 1}


@pytest.mark.parametrize("by", ["patch", "slide", "patient"])
def test_rows_lie_inside_their_row_groups(by):
    for sampling in ("epoch", "replacement"):
        for kind in (PURE, MIXED):
            picks = epoch_picks(geometry(sampling=sampling), kind, lines=lines_of(kind, by))
            assert (picks[:, 1] >= 0).all()
            assert (picks[:, 1] < np.asarray(SIZES[kind])[picks[:, 0]]).all()


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 37, 64])
@pytest.mark.parametrize("by", ["patch", "slide"])
@pytest.mark.parametrize("per_step", [1, 3])
def test_the_global_batch_is_the_same_for_any_number_of_workers(workers, by, per_step):
    lines = lines_of(PURE, by)
    orders = [geometry(batch_size=128 * per_step, shards=64, steps=5, window=2, rest=50)]
    orders.append(geometry(batch_size=128 * per_step, shards=64, steps=5, window=2, sampling="replacement"))
    for order in orders:
        whole = epoch_steps_of(order, PURE, lines=lines)
        shards = [worker_shards(order.shards, rank, workers) for rank in range(workers)]
        parts = [epoch_steps_of(order, PURE, shards=mine, lines=lines) for mine in shards]
        for step, expected in enumerate(whole):
            assert worker_patches(order, step, workers) == [2 * len(part[step]) for part in parts]
            for mine, part in zip(shards, parts, strict=True):
                first = order.first_position(step, mine.start)
                np.testing.assert_array_equal(part[step], expected[first : first + len(part[step])])
            np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), expected)


def test_the_shards_of_a_short_step_differ_by_at_most_one():
    order = geometry(batch_size=128, shards=16, steps=3, rest=37)
    for step in range(order.steps):
        shares = np.diff([order.first_position(step, shard) for shard in range(order.shards + 1)])
        assert shares.sum() == order.size(step)
        assert np.ptp(shares) <= 1
    assert [order.first_position(0, shard) for shard in range(16)] == [4 * shard for shard in range(16)]


def test_a_window_can_be_had_without_the_ones_before():
    order = whole_epoch(460)
    steps = epoch_steps_of(order, PURE)
    for window in reversed(range(order.windows)):
        picks = window_picks(order, lines_of(PURE), PURE, 0, window, range(order.shards))
        for step, expected in zip(order.window_steps(window), picks, strict=True):
            np.testing.assert_array_equal(steps[step], expected)


def test_the_last_window_is_short_and_every_step_is_in_one_window():
    order = geometry()
    steps = [step for window in range(order.windows) for step in order.window_steps(window)]
    assert steps == list(range(57))
    assert len(order.window_steps(order.windows - 1)) == 7


@pytest.mark.parametrize("by", ["patch", "slide"])
def test_epochs_and_seeds_differ(by):
    lines = lines_of(PURE, by)
    first = epoch_picks(geometry(), PURE, lines=lines)
    assert (first != epoch_picks(geometry(), PURE, epoch=1, lines=lines)).any()
    assert (first != epoch_picks(geometry(seed=6), PURE, lines=lines)).any()


def test_replacement_draws_every_patch_as_often_as_any_other():
    order = geometry(sampling="replacement", steps=200)
    picks = np.concatenate([epoch_picks(order, PURE, epoch=epoch) for epoch in range(40)])
    _, counts = np.unique(picks, axis=0, return_counts=True)
    total = sum(SIZES[PURE])
    assert len(counts) == total
    # Patches of a window come together, so that the counts spread more than independent draws would; but no patch is
    # favoured: the mean count of a row group is that of all, within the spread of the windows' starts.
    groups = np.bincount(picks[:, 0], minlength=5) / np.asarray(SIZES[PURE])
    assert groups.max() / groups.min() < 1.25


def test_replacement_by_slide_draws_slides_alike_and_their_patches_alike():
    order = geometry(sampling="replacement", steps=200)
    lines = lines_of(PURE, "slide")
    picks = np.concatenate([epoch_picks(order, PURE, epoch=epoch, lines=lines) for epoch in range(40)])
    patches, counts = np.unique(picks, axis=0, return_counts=True)
    assert len(patches) == sum(SIZES[PURE])
    slide = np.zeros(len(patches), dtype=int)
    for group, start, rows, number, _ in RUNS[PURE]:
        slide[(patches[:, 0] == group) & (patches[:, 1] >= start) & (patches[:, 1] < start + rows)] = number
    drawn = np.bincount(slide, weights=counts)
    assert drawn.max() / drawn.min() < 1.1
    halves = [counts[slide == 1][:100].sum(), counts[slide == 1][100:].sum()]
    assert max(halves) / min(halves) < 1.1


def test_a_window_reads_few_row_groups():
    lines = whole_groups((50,) * 200)
    order = Geometry(seed=0, sampling="epoch", batch_size=16, shards=2, steps=100, window=25)
    for window in range(4):
        for shard in range(2):
            picks = np.concatenate(window_picks(order, lines, PURE, 0, window, range(shard, shard + 1)))
            assert len(np.unique(picks[:, 0])) <= 25 * 4 // 50 + 1


def test_the_order_is_the_same_on_every_platform():
    """Digests that were committed: if one changes, a run can no longer be resumed or reproduced."""

    def digest(by, **changes):
        found = hashlib.sha256()
        for sampling in ("epoch", "replacement"):
            for kind in (PURE, MIXED):
                order = geometry(sampling=sampling, **changes)
                found.update(epoch_picks(order, kind, epoch=3, lines=lines_of(kind, by)).astype("<i8").tobytes())
        return found.hexdigest()

    assert digest("patch") == "74c4fe8f54b2cf0e0507530dc1c2145bc0a86a96d2d55b58dd69ab5215593382"
    assert digest("patch", steps=58, rest=4) == "29741e43a0027372303a0bfb3db00fc3e1214a9aead5146dd9d1f9036c9712f5"
    assert digest("slide") == "18bc3290c72179a7d50363cb7c03da39e6195f8be4dc70e5a35c3f22017921f9"
    assert digest("patient") == "8c5edcdaf26a6060e51c04d685e68c1bf0acfe1f3bbb3848763b392c03a8460c"
