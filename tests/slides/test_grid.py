"""The grid and how much of it is tissue, beside plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.slides.grid import covered, grid


@given(
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 400), st.integers(1, 400),
    st.floats(8, 90), st.floats(0.3, 1.0),
)  # fmt: skip
def test_every_patch_that_fits_and_no_other(left, top, width, height, size, share):
    step = size * share
    corners = grid((left, top, width, height), size, step)
    nx = sum(1 for i in range(500) if i * step + size <= width + 1e-9)
    ny = sum(1 for i in range(500) if i * step + size <= height + 1e-9)
    assert len(corners) == nx * ny
    assert len({tuple(corner) for corner in corners.tolist()}) == len(corners)
    if len(corners):
        assert corners.min(axis=0).tolist() == [left, top]
        assert (corners[:, 0] + size <= left + width + 0.5 + 1e-6).all()
        assert (corners[:, 1] + size <= top + height + 0.5 + 1e-6).all()
        for axis, count in ((0, nx), (1, ny)):
            distances = np.diff(np.unique(corners[:, axis]))
            assert count == 1 or np.abs(distances - step).max() <= 1


def test_neighbours_touch():
    corners = grid((0, 0, 1024, 512), 256.0, 256.0)
    assert corners.tolist() == [[x, y] for y in (0, 256) for x in (0, 256, 512, 768)]


def test_covered_is_the_mean_of_the_mask_in_each_patch():
    rng = np.random.default_rng(0)
    mask = rng.random((60, 80)) < 0.4
    corners = grid((0, 0, 80 * 16, 60 * 16), 160.0, 96.0)
    found = covered(mask, corners, 160.0, 16.0)
    expected = [mask[y // 16 : y // 16 + 10, x // 16 : x // 16 + 10].mean() for x, y in corners.tolist()]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("size", [3.0, 5.0])
def test_a_patch_smaller_than_a_px_of_the_mask_takes_that_px(size):
    mask = np.array([[True, False]])
    corners = np.array([[1, 1], [17, 1], [31, 15]])
    assert covered(mask, corners, size, 16.0).tolist() == [1.0, 0.0, 0.0]
