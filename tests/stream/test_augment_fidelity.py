"""Each operation compared with torchvision's: how its parameters are distributed, and how much it changes real patches.

Effects are mean absolute differences to the patch as it was, in levels of 0..255, with the same parameters on both sides.
"""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import COHORTS
from tests.stream.drawn import draw_parameters
from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.pixels import decode
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.parameters import View

TABLE = Path(COHORTS or "/nonexistent") / "pcam" / "patches.parquet"
SIZE = 96
STILL = {"scale": (1, 1), "ratio": (1, 1), "hflip": 0, "jitter": 0, "grayscale": 0}
ONLY = {  # the recipe in which nothing but this operation happens
    "crop": {**STILL, "scale": (0.2, 1), "ratio": (3 / 4, 4 / 3)},
    "brightness": {**STILL, "jitter": 1, "contrast": 0, "saturation": 0, "hue": 0},
    "contrast": {**STILL, "jitter": 1, "brightness": 0, "saturation": 0, "hue": 0},
    "saturation": {**STILL, "jitter": 1, "brightness": 0, "contrast": 0, "hue": 0},
    "hue": {**STILL, "jitter": 1, "brightness": 0, "contrast": 0, "saturation": 0},
    "grayscale": {**STILL, "grayscale": 1},
    "blur": {**STILL, "blur": 1},
    "hflip": {**STILL, "hflip": 1},
    "vflip": {**STILL, "vflip": 1},
}
# How far our effect may be from torchvision's, as a fraction of it. torchvision truncates to bytes where we round, half a
# level of effects of three to thirty. Its hue turns in HSV, which keeps the brightest and the darkest channel of a pixel
# and moves the middle one; ours turns about the grey axis, which moves all three: some 20 % more.
EFFECT = dict.fromkeys(ONLY, 0.01) | {"brightness": 0.02, "contrast": 0.02, "grayscale": 0.02} | {"saturation": 0.05}
EFFECT["hue"] = 0.25
# How far apart the two pictures may be, in levels on average: a rounding or a truncation or both.
APART = dict.fromkeys(ONLY, 0.75) | {"hflip": 0, "vflip": 0}
# Resizing: torchvision shrinks with a triangle filter, we are bilinear at first and then take area means.
SHRINKS = {"shrunk a little": (80, 0.02), "shrunk much": (40, 0.05)}
DRAWS = 3000
KS = 1.63 * np.sqrt(2 / DRAWS)  # critical value at the level 0.01 of two samples of DRAWS


@pytest.fixture(scope="module", params=["drawn", "real"])
def patches(request):
    """(48, 96, 96, 3) uint8."""
    if request.param == "drawn":
        rng = np.random.default_rng(0)
        return np.stack([draw_patch(rng, tumour=n % 2 == 0, stain=draw_stain(rng), size=SIZE) for n in range(48)])
    if not TABLE.is_file():
        pytest.skip("WSC_RAY_COHORTS names no folder with pcam/patches.parquet")
    column = pq.read_table(TABLE, columns=["image"])["image"]
    return np.stack([decode(column[n * len(column) // 48].as_py()) for n in range(48)])


@pytest.fixture(scope="module")
def drawn():
    """`View` of arrays (DRAWS,), everything on."""
    config = Augment(jitter=1, vflip=0.3, blur=1, rotate90=True, hed=0.1)
    rows = np.concatenate([draw_parameters(config, SIZE, SIZE, 11, n) for n in range(DRAWS // 2)])
    return View(*rows.T.astype(float))


@pytest.fixture(scope="module")
def jitters():
    """torchvision's own draws: (DRAWS, 4) brightness, contrast, saturation, hue; (DRAWS, 4) their order."""
    torch.manual_seed(0)
    transform = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    drawn = [transform.make_params([]) for _ in range(DRAWS)]
    return (
        np.array([[float(each[name]) for name in names] for each in drawn]),
        np.array([each["fn_idx"].tolist() for each in drawn]),
    )


def kolmogorov_smirnov(a, b):
    places = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), places, side="right") / len(x) for x in (a, b)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize(("index", "name"), enumerate(("brightness", "contrast", "saturation", "hue")))
def test_jitter_is_distributed_as_torchvisions(drawn, jitters, index, name):
    assert kolmogorov_smirnov(getattr(drawn, name), jitters[0][:, index]) < KS


def test_jitters_come_in_torchvisions_orders(drawn, jitters):
    """Contrast and saturation before or after hue: the order's part that matters."""
    place = np.argsort(jitters[1], axis=1)
    theirs = 2 * (place[:, 1] < place[:, 3]) + (place[:, 2] < place[:, 3])
    ours = (2 * drawn.contrast_first + drawn.saturation_first).astype(int)
    shares = [np.bincount(x, minlength=4) / DRAWS for x in (ours, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 4 * np.sqrt(2 * 0.25 / DRAWS)
    assert shares[0].min() > 0.1


@pytest.mark.parametrize("shape", [(96, 96), (60, 110), (128, 20)])
def test_crops_are_distributed_as_torchvisions(shape):
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(64, scale=(0.2, 1.0))
    picture = torch.zeros(3, *shape)
    drawn = [transform.make_params([picture]) for _ in range(DRAWS)]
    theirs = np.array([[each[key] for key in ("top", "left", "height", "width")] for each in drawn])
    ours = np.concatenate([draw_parameters(Augment(), *shape, 12, n)[:, :4] for n in range(DRAWS // 2)])
    for column in range(4):
        assert kolmogorov_smirnov(ours[:, column], theirs[:, column]) < KS
    assert kolmogorov_smirnov(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) < KS


def test_blur_is_distributed_as_torchvisions(drawn):
    torch.manual_seed(0)
    transform = v2.GaussianBlur(23, sigma=(0.1, 2.0))
    theirs = np.array([transform.make_params([])["sigma"][0] for _ in range(DRAWS)])
    assert kolmogorov_smirnov(drawn.blur, theirs) < KS


def test_stain_jitter_is_uniform_and_independent(drawn):
    even = (np.arange(DRAWS) + 0.5) / DRAWS
    columns = [(getattr(drawn, f"scale_{stain}") - 0.9) / 0.2 for stain in "hed"]
    columns += [(getattr(drawn, f"shift_{stain}") + 0.1) / 0.2 for stain in "hed"]
    for column in columns:
        assert kolmogorov_smirnov(column, even) < KS
    correlation = np.corrcoef(columns) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(DRAWS)


@pytest.mark.parametrize(("column", "value", "share"), [("hflip", 1, 0.5), ("vflip", 1, 0.3), ("grayscale", 1, 0.2)])
def test_switches_come_as_often_as_asked(drawn, column, value, share):
    assert abs((getattr(drawn, column) == value).mean() - share) < 4 * np.sqrt(share * (1 - share) / DRAWS)


def test_quarter_turns_are_even(drawn):
    shares = np.bincount(drawn.turns.astype(int), minlength=4) / DRAWS
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / DRAWS)


def test_jitter_and_blur_come_as_often_as_asked():
    config = Augment(jitter=0.8, blur=0.3)
    rows = np.concatenate([draw_parameters(config, SIZE, SIZE, 13, n) for n in range(DRAWS // 2)])
    view = View(*rows.T)
    assert abs((view.hue != 0).mean() - 0.8) < 4 * np.sqrt(0.8 * 0.2 / DRAWS)
    assert abs((view.blur != 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / DRAWS)


def torchvisions(name, patch, view, size):
    picture = torch.from_numpy(patch).movedim(-1, 0)
    if name == "crop":
        box = (int(view.top), int(view.left), int(view.height), int(view.width))
        picture = F.resized_crop(picture, *box, [size, size], antialias=True)
    elif name == "blur":
        picture = F.gaussian_blur(picture, [23, 23], [view.blur, view.blur])
    elif name == "grayscale":
        picture = F.rgb_to_grayscale(picture, num_output_channels=3)
    elif name in ("hflip", "vflip"):
        picture = {"hflip": F.horizontal_flip, "vflip": F.vertical_flip}[name](picture)
    else:
        picture = getattr(F, f"adjust_{name}")(picture, getattr(view, name))
    return picture.movedim(0, -1).numpy().astype(float)


def effects(name, patches, size):
    """Ours, torchvision's, and the difference of the two, over all patches."""
    found = []
    for number, patch in enumerate(patches):
        row = draw_parameters(Augment(size=size, **ONLY[name]), SIZE, SIZE, 14, number)[0]
        ours = apply_view(patch, row, size).astype(float)
        theirs = torchvisions(name, patch, View(*row.tolist()), size)
        before = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA).astype(float)
        found.append([np.abs(ours - before).mean(), np.abs(theirs - before).mean(), np.abs(ours - theirs).mean()])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("name", ONLY)
def test_an_operation_changes_patches_as_torchvisions_does(patches, name):
    ours, theirs, apart = effects(name, patches, SIZE)
    print(f"{name}: effect {ours:.2f}, torchvision's {theirs:.2f}, apart {apart:.2f}")
    assert theirs > 1, "the operation changes nothing"
    assert abs(ours / theirs - 1) <= EFFECT[name]
    if name != "hue":
        assert apart <= APART[name]


@pytest.mark.parametrize("how", SHRINKS)
def test_shrinking_changes_patches_as_torchvisions_does(patches, how):
    size, tolerance = SHRINKS[how]
    ours, theirs, apart = effects("crop", patches, size)
    print(f"{how}: effect {ours:.2f}, torchvision's {theirs:.2f}, apart {apart:.2f}")
    assert abs(ours / theirs - 1) <= tolerance
    assert apart < theirs / 10


def test_the_papers_colours_change_patches_as_torchvisions_do(patches):
    """All jitters and grayscale with draws of each side's own: the mean effect, within 10 %."""
    torch.manual_seed(0)
    pipeline = v2.Compose([v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), v2.RandomGrayscale(0.2)])
    config = Augment(size=SIZE, **STILL | {"jitter": 0.8, "grayscale": 0.2})
    ours, theirs = [], []
    for number, patch in enumerate(patches):
        picture = torch.from_numpy(patch).movedim(-1, 0)
        for repeat in range(5):
            for row in draw_parameters(config, SIZE, SIZE, 15, number, repeat):
                ours.append(np.abs(apply_view(patch, row, SIZE).astype(float) - patch).mean())
                theirs.append((pipeline(picture).float() - picture).abs().mean().item())
    print(f"effect {np.mean(ours):.2f}, torchvision's {np.mean(theirs):.2f}")
    assert abs(np.mean(ours) / np.mean(theirs) - 1) <= 0.1
    assert kolmogorov_smirnov(np.array(ours), np.array(theirs)) < 1.63 * np.sqrt(2 / len(ours))
