"""Views of a patch, made on the CPU."""

import cv2
import numpy as np
import pytest

from tests.stream.drawn import draw_parameters
from wsc_ray.errors import RecipeError
from wsc_ray.random import permutation, raw, uniform
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view, resize, two_views

STILL = {"scale": (1, 1), "ratio": (1, 1), "hflip": 0, "jitter": 0, "grayscale": 0}


@pytest.fixture
def image():
    """A smooth picture in tissue's colours, so that nothing clips."""
    rng = np.random.default_rng(0)
    small = rng.integers(90, 170, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)


def test_views_depend_on_the_key_alone(image):
    config = Augment(size=32)
    views = two_views(image, config, 0, 1, 2)
    assert views.shape == (2, 32, 32, 3)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views, two_views(image, config, 0, 1, 2))
    assert (views != two_views(image, config, 0, 1, 3)).any()
    assert (views[0] != views[1]).any()


def test_views_are_the_parameters_applied(image):
    config = Augment(size=40, vflip=0.5, rotate90=True, blur=0.5, hed=0.05)
    rows = draw_parameters(config, 96, 96, 4, 5)
    views = two_views(image, config, 4, 5)
    for row, view in zip(rows, views, strict=True):
        np.testing.assert_array_equal(view, apply_view(image, row, 40))


def test_switched_off_augmentation_is_a_resize(image):
    for view in two_views(image, Augment(size=48, **STILL), 0):
        np.testing.assert_array_equal(view, resize(image, 48))


def test_flips_and_turns_are_numpys(image):
    config = Augment(size=96, **{**STILL, "hflip": 0.5}, vflip=0.5, rotate90=True)
    seen = set()
    for n in range(60):
        for row, view in zip(draw_parameters(config, 96, 96, n), two_views(image, config, n), strict=True):
            hflip, vflip, turns = row[4:7].astype(int).tolist()
            expected = image[:: -1 if vflip else 1, :: -1 if hflip else 1]
            np.testing.assert_array_equal(view, np.rot90(expected, turns))
            seen.add((hflip, vflip, turns))
    assert len(seen) == 16


def test_a_crop_is_the_part_it_names(image):
    config = Augment(size=24, **{**STILL, "scale": (0.2, 0.6)})
    for n in range(10):
        row = draw_parameters(config, 96, 96, n)[0]
        top, left, height, width = row[:4].astype(int).tolist()
        expected = resize(image[top : top + height, left : left + width], 24)
        np.testing.assert_array_equal(apply_view(image, row, 24), expected)


def test_shrinking_much_does_not_alias():
    """Stripes of one pixel become their mean, not stripes of other widths."""
    stripes = np.zeros((90, 90, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, 30)[:, 1:-1].astype(int)) <= 255 / 3  # three pixels hold one or two stripes
    assert np.ptp(resize(stripes, 15).astype(int)) <= 2


def test_stain_jitter_is_the_formula(image):
    """Against the definition in double precision: densities, unmixed, scaled, shifted, mixed again."""
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    for theta in (0.05, 0.2):
        config = Augment(size=96, **STILL, hed=theta)
        for n in range(5):
            row = draw_parameters(config, 96, 96, n)[0]
            scale, shift = row[7:10].astype(float), row[10:13].astype(float)
            assert (np.abs(scale - 1) <= theta + 1e-6).all()
            assert (np.abs(shift) <= theta + 1e-6).all()
            amounts = np.linalg.solve(stains.T, -np.log10(image.reshape(-1, 3).T / 255))  # (3, px)
            density = stains.T @ (scale[:, None] * amounts + shift[:, None])
            expected = np.clip(255 * 10**-density, 0, 255).T.reshape(image.shape)
            assert np.abs(apply_view(image, row, 96) - expected).max() <= 0.51


def test_black_and_white_survive_stain_jitter():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[4:] = 255
    views = two_views(picture, Augment(size=8, **STILL, hed=1), 3)
    assert views.shape == (2, 8, 8, 3)
    assert (views[:, :4].mean((1, 2)) <= views[:, 4:].mean((1, 2))).all()


def test_blur_keeps_a_flat_picture_and_spreads_a_point_as_far_as_its_sigma():
    config = Augment(size=41, **STILL, blur=1, blur_sigma=(1.5, 1.5))
    flat = np.full((41, 41, 3), 77, np.uint8)
    np.testing.assert_array_equal(two_views(flat, config, 0)[0], flat)
    point = np.zeros((41, 41, 3), np.uint8)
    point[10:31, 20] = 255  # a line, bright enough to be measured in bytes
    across = two_views(point, config, 0)[0][20, :, 0].astype(float)
    sigma = np.sqrt((across * (np.arange(41) - 20) ** 2).sum() / across.sum())
    assert abs(sigma - 1.5) < 0.05


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"blur_sigma": [2.0, 0.1]}, "`augment.blur_sigma`: runs from 2.0 to 0.1"),
        (
            {"blur": 0.5, "size": 8, "blur_sigma": [0.1, 3.0]},
            "too wide for views of 8 px; give at most a quarter of their side, 2",
        ),
        ({"blur_sigma": [0.0, 1.0]}, "`augment.blur_sigma"),
        ({"hed": -0.1}, "`augment.hed`"),
    ],
)
def test_impossible_augmentation_is_refused(augment, said):
    with pytest.raises(RecipeError) as error:
        validate_recipe({"augment": augment})
    assert said in str(error.value)


def test_a_wide_blur_that_is_never_drawn_is_no_problem():
    assert validate_recipe({"augment": {"size": 8, "blur_sigma": [0.1, 3.0]}}).augment.blur == 0


def test_random_numbers_are_what_they_were():
    """Committed values: the raw stream is guaranteed by numpy, the derived ones by us."""
    assert raw(2, 1, 2, 3).tolist() == [13279728891206244966, 234311473967787377]
    assert permutation(5, 0).tolist() == [0, 3, 1, 2, 4]
    assert 0 <= uniform(1000, 4).min() < uniform(1000, 4).max() < 1
