"""Which patches count as high attention, and the outlines of their areas: exact, held to a raster of every px."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.attention.contours import areas, high_attention


def test_the_fewest_patches_with_half_of_the_attention():
    attention = np.array([0.1, 0.3, 0.05, 0.3, 0.2, 0.05], np.float32)
    assert np.flatnonzero(high_attention(attention)).tolist() == [1, 3]
    assert np.flatnonzero(high_attention(attention, share=0.7)).tolist() == [1, 3, 4]


def test_where_all_patches_have_the_same_none_is_high():
    assert not high_attention(np.full(9, 1 / 9, np.float32)).any()
    assert not high_attention(np.ones(1, np.float32)).any()
    assert high_attention(np.zeros(0, np.float32)).shape == (0,)


def test_equals_are_taken_together():
    attention = np.array([0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0], np.float32)
    assert high_attention(attention).tolist() == [True] * 4 + [False] * 4


def raster(corners, size, side=40):
    """Which px some square covers, (side, side) bool."""
    found = np.zeros((side, side), bool)
    for x, y in corners:
        found[y : y + size, x : x + size] = True
    return found


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12, unique=True),
    st.sampled_from([(4, 4), (4, 3), (4, 2), (3, 4)]),
)
def test_areas_cover_the_px_of_their_squares_and_no_others(places, shape):
    size, step = shape  # next to each other, overlapping, and apart
    corners = np.array(places) * step
    found = areas(corners, size)
    assert sorted(np.concatenate([area.patches for area in found]).tolist()) == list(range(len(corners)))
    y, x = np.mgrid[:40, :40] + 0.5
    covered = np.zeros((40, 40), bool)
    for area in found:
        inside = shapely.contains_xy(area.outline, x, y)
        assert not (covered & inside).any(), "areas do not overlap"
        covered |= inside
        for patch in area.patches:
            square = shapely.box(*corners[patch], *(corners[patch] + size))
            assert area.outline.covers(square)
    expected = raster(corners, size)
    if step <= size:
        np.testing.assert_array_equal(covered, expected)
    else:  # a gap of one px is closed: rounding leaves such gaps
        assert (covered | expected == covered).all()


def test_neighbours_that_rounding_has_parted_by_a_px_are_one_area():
    (area,) = areas(np.array([[0, 0], [257, 0], [515, 0]]), 257)  # a grid of 257.4 px
    assert area.outline.bounds == (0, 0, 515 + 257, 257)
    assert area.outline.area == 772 * 257
    assert len(area.outline.exterior.coords) == 5, "four corners and the first again, no points along the sides"


def test_a_hole_stays_a_hole_and_far_patches_are_areas_of_their_own():
    ring = [(x, y) for x in range(3) for y in range(3) if (x, y) != (1, 1)]
    found = areas(np.array([*ring, (9, 9)]) * 64, 64)
    assert [len(area.patches) for area in found] == [8, 1]
    (hole,) = found[0].outline.interiors
    assert shapely.Polygon(hole).bounds == (64, 64, 128, 128)
    assert found[1].outline.bounds == (576, 576, 640, 640)
    assert areas(np.zeros((0, 2), np.int64), 64) == []
