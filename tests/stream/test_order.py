"""The sample order alone, without Ray."""

import hashlib

import numpy as np
import pytest

from wsc_ray.stream.order import MIXED, PURE, Geometry, epoch_steps, window_rows, worker_shards

SIZES = {PURE: (100, 37, 256, 3, 64), MIXED: (90, 40, 25)}


def geometry(**changes):
    values = {"seed": 5, "sampling": "epoch", "batch_size": 16, "shards": 4, "steps": 57, "window": 10}
    return Geometry(**{**values, **changes})


def epoch_picks(order, kind, epoch=0, shards=None):
    """(steps, patches a step, 2) of some shards, in the order of the global batch."""
    shards = range(order.shards) if shards is None else shards
    windows = [
        np.concatenate([window_rows(order, SIZES[kind], kind, epoch, window, shard) for shard in shards], axis=1)
        for window in range(order.windows)
    ]
    return np.concatenate(windows)


@pytest.mark.parametrize("steps", [57, 20])
def test_the_larger_class_is_visited_at_most_once_and_the_rest_is_less_than_a_batch(steps):
    order = geometry(steps=steps)
    picks = epoch_picks(order, PURE).reshape(-1, 2)
    assert len(picks) == steps * 8
    assert len({tuple(pick) for pick in picks}) == len(picks)
    assert epoch_steps({kind: sum(SIZES[kind]) for kind in SIZES}, 16) == 57


def test_the_smaller_class_is_repeated_in_whole_passes():
    picks = epoch_picks(geometry(), MIXED).reshape(-1, 2)
    _, counts = np.unique(picks, axis=0, return_counts=True)
    total = sum(SIZES[MIXED])
    assert len(counts) == total
    assert set(counts) <= {len(picks) // total, len(picks) // total + 1}


def test_rows_lie_inside_their_row_groups():
    for sampling in ("epoch", "replacement"):
        for kind in (PURE, MIXED):
            picks = epoch_picks(geometry(sampling=sampling), kind).reshape(-1, 2)
            assert (picks[:, 1] >= 0).all()
            assert (picks[:, 1] < np.asarray(SIZES[kind])[picks[:, 0]]).all()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_global_batch_is_the_same_for_any_number_of_workers(workers):
    order = geometry()
    parts = [epoch_picks(order, PURE, shards=worker_shards(order.shards, rank, workers)) for rank in range(workers)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), epoch_picks(order, PURE))


def test_the_last_window_is_short_and_every_step_is_in_one_window():
    order = geometry()
    steps = [step for window in range(order.windows) for step in order.window_steps(window)]
    assert steps == list(range(57))
    assert len(order.window_steps(order.windows - 1)) == 7


def test_epochs_and_seeds_differ():
    first = epoch_picks(geometry(), PURE)
    assert (first != epoch_picks(geometry(), PURE, epoch=1)).any()
    assert (first != epoch_picks(geometry(seed=6), PURE)).any()


def test_replacement_draws_every_patch_as_often_as_any_other():
    order = geometry(sampling="replacement", steps=200)
    picks = np.concatenate([epoch_picks(order, PURE, epoch=e).reshape(-1, 2) for e in range(40)])
    _, counts = np.unique(picks, axis=0, return_counts=True)
    total = sum(SIZES[PURE])
    assert len(counts) == total
    # Patches of a window come together, so that the counts spread more than independent draws would; but no patch is
    # favoured: the mean count of a row group is that of all, within the spread of the windows' starts.
    groups = np.bincount(picks[:, 0], minlength=5) / np.asarray(SIZES[PURE])
    assert groups.max() / groups.min() < 1.25


def test_a_window_reads_few_row_groups():
    sizes = (50,) * 200
    order = Geometry(seed=0, sampling="epoch", batch_size=16, shards=2, steps=100, window=25)
    touched = [len(np.unique(window_rows(order, sizes, PURE, 0, w, s)[..., 0])) for w in range(4) for s in range(2)]
    assert max(touched) <= 25 * 4 // 50 + 1


def test_the_order_is_the_same_on_every_platform():
    """A digest that was committed: if it changes, a run can no longer be resumed or reproduced."""
    digest = hashlib.sha256()
    for sampling in ("epoch", "replacement"):
        for kind in (PURE, MIXED):
            digest.update(epoch_picks(geometry(sampling=sampling), kind, epoch=3).astype("<i8").tobytes())
    assert digest.hexdigest() == "74c4fe8f54b2cf0e0507530dc1c2145bc0a86a96d2d55b58dd69ab5215593382"
