"""The parameters of views depend on the key alone, stay inside the patch and are the same on every platform."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.drawn import draw_parameters
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.parameters import View, _exp, _log, view_draws

EVERYTHING = Augment(vflip=0.5, rotate90=True, blur=0.5, hed=0.05)
SWITCHES = {
    "hflip": ({"hflip": 0.9}, {"hflip"}),
    "vflip": ({"vflip": 0.5}, {"vflip"}),
    "rotate90": ({"rotate90": True}, {"turns"}),
    "jitter": ({"jitter": 0.1}, {"brightness", "contrast", "saturation", "hue"}),
    "grayscale": ({"grayscale": 1}, {"grayscale"}),
    "blur": ({"blur": 0.5}, {"blur"}),
    "hed": ({"hed": 0.05}, {"scale_h", "scale_e", "scale_d", "shift_h", "shift_e", "shift_d"}),
    "scale": ({"scale": (0.5, 1)}, {"top", "left", "height", "width"}),
}


def draw(config, count, *, height=96, width=96):
    """`View` of arrays (2 * count,)."""
    return View(*np.concatenate([draw_parameters(config, height, width, 7, n) for n in range(count)]).T)


def test_parameters_depend_on_the_key_alone():
    first = draw_parameters(EVERYTHING, 96, 80, 0, 1, 2)
    assert first.shape == (2, len(View._fields))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, draw_parameters(EVERYTHING, 96, 80, 0, 1, 2))
    assert (first != draw_parameters(EVERYTHING, 96, 80, 0, 1, 3)).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_its_own_parameters_alone(name):
    changes, columns = SWITCHES[name]
    before, after = draw(Augment(), 50), draw(Augment(**changes), 50)
    assert {c for c in View._fields if (getattr(before, c) != getattr(after, c)).any()} == columns


def test_operations_that_are_off_change_nothing():
    off = draw(Augment(scale=(1, 1), ratio=(1, 1), hflip=0, jitter=0, grayscale=0), 50, height=60, width=60)
    ones = ("brightness", "contrast", "saturation", "scale_h", "scale_e", "scale_d")
    for name in set(View._fields) - {"height", "width", "contrast_first", "saturation_first"}:
        assert (getattr(off, name) == (name in ones)).all(), name
    assert (off.height == 60).all()
    assert (off.width == 60).all()


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    scale=st.tuples(st.floats(0, 1), st.floats(0.01, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)).map(sorted),
)
@settings(max_examples=200)
def test_every_crop_lies_in_the_patch(height, width, scale, ratio):
    for view in draw_parameters(Augment(scale=tuple(scale), ratio=tuple(ratio)), height, width, 0):
        view = View(*view.tolist())
        assert view.height >= 1
        assert view.width >= 1
        assert 0 <= view.top <= height - view.height
        assert 0 <= view.left <= width - view.width


@pytest.mark.parametrize(("height", "width", "crop"), [(1000, 10, (13, 10)), (10, 1000, (10, 13)), (50, 50, (50, 50))])
def test_a_patch_too_narrow_for_any_crop_gives_its_middle(height, width, crop):
    view = draw(Augment(scale=(1, 1), ratio=(3 / 4, 4 / 3)), 30, height=height, width=width)
    middle = (view.height == crop[0]) & (view.width == crop[1])
    assert middle.any() if height == width else middle.all()
    assert (view.top[middle] == (height - crop[0]) // 2).all()
    assert (view.left[middle] == (width - crop[1]) // 2).all()


def test_exponential_and_logarithm_are_good_to_their_last_digits():
    for x in (0.05, 0.75, 1.0, 4 / 3, 20.0):
        assert math.isclose(_log(x), math.log(x), rel_tol=1e-15)
        assert math.isclose(_exp(math.log(x)), x, rel_tol=1e-13)


def test_parameters_are_what_they_were():
    """Committed: a run resumed with another version or on another platform draws the same."""
    digest = hashlib.sha256()
    for config in (Augment(), EVERYTHING, Augment(ratio=(0.3, 5), scale=(0.01, 0.5), hed=0.2, blur=1, hue=0.5)):
        for height, width in ((96, 96), (224, 224), (64, 257)):
            for n in range(100):
                digest.update(draw_parameters(config, height, width, 3, 1000 * n, n).astype("<f4").tobytes())
    assert digest.hexdigest() == "3395720507b17e70afbe7f5977bcc0b9c194fe4c594ad446b1535ca244663913"


def test_a_patchs_draws_do_not_depend_on_how_many_are_drawn():
    np.testing.assert_array_equal(view_draws(5, 1, 2)[:3], view_draws(3, 1, 2))
    assert len(np.unique(view_draws(5, 1, 2))) == view_draws(5, 1, 2).size
