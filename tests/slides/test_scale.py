"""Physical scale: what a file may say, and the level that patches are read from."""

import pytest

from wsc_ray.errors import DataError
from wsc_ray.slides.scale import choose_scale, level0_mpp


def test_the_list_counts_before_the_file():
    assert level0_mpp((0.25, 0.25), None) == 0.25
    assert level0_mpp((264.58, 264.58), 0.5) == 0.5
    assert level0_mpp(None, 0.5) == 0.5
    with pytest.raises(DataError, match=r"the list says 0\.0001 um/px"):
        level0_mpp((0.25, 0.25), 1e-4)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "does not say its um/px"),
        ((264.58, 264.58), "264.6 um/px, which no scanner makes"),
        ((0.0, 0.0), "which no scanner makes"),
        ((0.5, 0.25), "not square"),
    ],
)
def test_a_file_that_cannot_be_right_asks_for_the_lists(told, said):
    with pytest.raises(DataError, match=f"{said}.*column `mpp`"):
        level0_mpp(told, None)


@pytest.mark.parametrize(
    ("mpp_level0", "downsamples", "level", "read", "mpp"),
    [
        (0.5, (1.0, 4.0), 0, 256, 0.5),
        (0.499, (1.0, 4.0), 0, 256, 0.499),  # as good as 20x: nothing is resampled, and the patch says what it is
        (0.25, (1.0, 2.0, 4.0), 1, 256, 0.5),
        (0.25, (1.0, 4.0), 0, 512, 0.5),
        (0.2522, (1.0, 4.0), 0, 508, 0.2522 * 508 / 256),
        (0.125, (1.0, 4.0, 16.0), 1, 256, 0.5),
    ],
)
def test_the_coarsest_level_that_is_fine_enough(mpp_level0, downsamples, level, read, mpp):
    scale = choose_scale(mpp_level0, downsamples, mpp=0.5, size=256)
    assert (scale.level, scale.read, scale.size) == (level, read, 256)
    assert scale.mpp == pytest.approx(mpp)
    assert scale.size_level0 == pytest.approx(256 * scale.mpp / mpp_level0)


def test_nothing_is_enlarged():
    with pytest.raises(DataError, match=r"coarser than the 0\.25 asked for"):
        choose_scale(0.5, (1.0,), mpp=0.25, size=256)
