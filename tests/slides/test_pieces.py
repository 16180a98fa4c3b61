"""Small pieces and holes, beside counting labelled px."""

import numpy as np
import pytest
from scipy import ndimage

from wsc_ray.slides.pieces import box_of, connected, without_holes, without_small


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55])
@pytest.mark.parametrize("least", [1, 3, 8, 40])
def test_pieces_and_holes_by_their_size(share, least):
    """Pieces touch by corners, so that holes do not."""
    mask = np.random.default_rng(round(100 * share)).random((90, 120)) < share
    mask[20:40, 30:60] = True
    mask[28:31, 40:44] = False
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    kept = without_small(mask, least)
    assert (mask | ~kept).all()
    for number in range(1, count + 1):
        piece = pieces == number
        around = ndimage.binary_fill_holes(piece)
        inside = np.unique(pieces[around & mask])
        if len(inside) == 1:  # a piece inside another goes with it
            assert kept[piece].all() == kept[piece].any() == (around.sum() >= least)
    found = without_holes(mask, least)
    assert (found | ~mask).all()
    gaps, count = ndimage.label(~mask)
    edge = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    for number, where in enumerate(ndimage.find_objects(gaps), start=1):
        gap = gaps[where] == number
        if number in edge:
            assert not found[where][gap].any()
        elif ndimage.binary_fill_holes(gap).sum() == gap.sum():  # nothing lies inside
            assert found[where][gap].all() == (gap.sum() < least), (gap.sum(), least)


def test_pieces_that_hold_something():
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]], bool)
    sure = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    expected = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(connected(mask, sure), expected)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6])
@pytest.mark.parametrize("known", [0.0, 0.02, 0.5, 1.0])
def test_pieces_that_hold_something_beside_labels(share, known):
    rng = np.random.default_rng(round(100 * share))
    mask, sure = rng.random((70, 90)) < share, rng.random((70, 90)) < known
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    held = np.setdiff1d(pieces[sure], 0)
    np.testing.assert_array_equal(connected(mask, sure), np.isin(pieces, held))


def test_the_box_around_a_mask():
    mask = np.zeros((20, 30), bool)
    assert box_of(mask, 2) == (slice(0, 3), slice(0, 3))  # nothing, yet a box
    mask[5, 7] = mask[9, 27] = True
    assert box_of(mask, 0) == (slice(5, 10), slice(7, 28))
    assert box_of(mask, 6) == (slice(0, 16), slice(1, 30))
