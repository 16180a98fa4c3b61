"""Tissue on drawn slides, where it is known, and on real ones, where it was outlined by hand."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.slides.drawn import draw, write
from wsc_ray.slides.opening import open_slide
from wsc_ray.slides.picture import small_picture
from wsc_ray.slides.tissue import find_tissue

SIDE = 600  # px of a picture at 8 um/px
REAL = os.environ.get("WSC_RAY_SLIDES")
PENS = {
    "green": (40, 140, 60),
    "blue": (25, 60, 160),
    "red": (205, 30, 45),
    "black": (25, 24, 28),
    "turquoise": (20, 150, 150),
    "orange": (235, 130, 30),
}


@pytest.fixture(scope="module")
def picture():
    """A disc 0.7 of the side wide, at 8 um/px."""
    return draw(SIDE, seed=1)


def disc(side, radius=0.35):
    y, x = np.mgrid[:side, :side] - side / 2
    return np.hypot(x, y) < radius * side


def iou(found, truth):
    """Intersection over union of two masks."""
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


def glass(value=242, tint=(0, 0, 0), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(value, 2, (SIDE, SIDE, 3)) + tint).clip(0, 255).astype(np.uint8)


def stroke(picture, colour, seed=0):
    """A line of a pen in the upper left corner, 30 px wide, its colour uneven; the picture with it, and where it is."""
    line = np.zeros(picture.shape[:2], np.uint8)
    cv2.polylines(line, [np.array([[30, 120], [80, 40], [150, 60], [260, 25]])], False, 255, 30)
    soft = cv2.GaussianBlur(line, (0, 0), 1)[..., None] / 255
    uneven = np.random.default_rng(seed).normal(0, 4, picture.shape) + colour
    return (picture * (1 - soft) + uneven * soft).clip(0, 255).astype(np.uint8), line > 0


def test_the_disc_is_found(picture):
    found = find_tissue(picture)
    assert iou(found.mask, disc(SIDE)) > 0.98
    assert not found.pen.any()
    assert not found.blurred.any()


@pytest.mark.parametrize("value", [255, 243, 225, 0])
@pytest.mark.parametrize("tint", [(0, 0, 0), (0, -1, -6), (-4, 0, 3)], ids=["grey", "yellowish", "bluish"])
def test_glass_grey_and_black_hold_none(value, tint):
    assert not find_tissue(glass(value, tint)).mask.any()


@pytest.mark.parametrize("tint", [(0, -1, -6), (-4, 0, 3)], ids=["yellowish", "bluish"])
def test_the_glass_may_have_a_colour(picture, tint):
    tinted = (picture.astype(int) + tint).clip(0, 255).astype(np.uint8)
    assert iou(find_tissue(tinted).mask, disc(SIDE)) > 0.98


def test_dust_and_pen_are_left_out_and_lumina_belong_to_the_tissue(picture):
    marked = picture.copy()
    marked[20:28, 20:28] = (160, 90, 150)  # 0.004 mm^2
    marked[40:80, 500:580] = (10, 10, 12)  # a black pen
    marked[295:315, 295:315] = 245  # 0.026 mm^2 of glass inside
    found = find_tissue(marked).mask
    assert not found[:90, :40].any()
    assert not found[40:80, 500:580].any()
    assert found[295:315, 295:315].all()


@pytest.mark.parametrize("name", PENS)
def test_pens_are_left_out_on_glass_and_on_tissue(picture, name):
    for empty, truth in ((picture, disc(SIDE)), (glass(), np.zeros((SIDE, SIDE), bool))):
        marked, line = stroke(empty, PENS[name])
        found = find_tissue(marked)
        assert not (found.mask & line).any()
        assert (found.pen & line).sum() > 0.9 * line.sum()
        if truth.any():
            assert iou(found.mask, truth) > 0.97
        else:
            assert not found.mask.any()
    turned = np.ascontiguousarray(
        np.roll(stroke(np.roll(picture, (-200, -200), (0, 1)), PENS[name])[0], (200, 200), (0, 1))
    )
    line = np.roll(stroke(picture, PENS[name])[1], (200, 200), (0, 1))  # across the disc
    found = find_tissue(turned)
    assert (found.mask & line).sum() < 0.02 * line.sum()
    assert iou(found.mask, disc(SIDE) & ~line) > 0.9


@pytest.mark.parametrize(
    "stain",
    [
        ((222, 165, 195), (110, 60, 150)),  # H&E, as drawn
        ((215, 190, 165), (135, 90, 55)),  # DAB
        ((175, 185, 220), (70, 70, 140)),  # haematoxylin alone
        ((215, 150, 170), (190, 60, 80)),  # much blood
        ((120, 150, 205), (150, 40, 60)),  # trichrome: blue collagen
    ],
    ids=["H&E", "DAB", "haematoxylin", "blood", "trichrome"],
)
def test_stains_are_no_pens(picture, stain):
    rng = np.random.default_rng(3)
    nuclei = (picture[..., 1] < 110) & disc(SIDE)
    stained = glass().astype(float)
    stained[disc(SIDE)] = stain[0]
    stained[nuclei] = stain[1]
    stained = (stained + rng.normal(0, 3, stained.shape)).clip(0, 255).astype(np.uint8)
    found = find_tissue(stained)
    assert iou(found.mask, disc(SIDE)) > 0.97
    assert not found.pen.any()


def test_pale_tissue_stays_where_it_is_connected_and_where_there_is_no_other(picture):
    pale = glass()
    band = np.zeros((SIDE, SIDE), bool)
    band[200:400, 20:300] = True
    rng = np.random.default_rng(0)
    pale[band] = (rng.normal(0, 2, (band.sum(), 3)) + (240, 228, 236)).clip(0, 255)
    assert iou(find_tissue(pale).mask, band) > 0.97, "alone"
    both = np.where((band & ~disc(SIDE))[..., None], pale, picture)
    assert iou(find_tissue(both).mask, band | disc(SIDE)) > 0.97, "beside darker tissue"


def test_a_black_frame_is_no_tissue_and_hides_none(picture):
    framed = np.zeros((SIDE + 120, SIDE + 120, 3), np.uint8)
    framed[60:-60, 60:-60] = picture
    found = find_tissue(framed).mask
    assert iou(found[60:-60, 60:-60], disc(SIDE)) > 0.97
    assert found.sum() == found[60:-60, 60:-60].sum()


def test_what_is_out_of_focus_is_left_out(picture):
    """The left half of the disc, blurred by 16 um; sharp tissue beside it stays."""
    half = picture.copy()
    half[:, : SIDE // 2] = cv2.GaussianBlur(picture, (0, 0), 2)[:, : SIDE // 2]
    found = find_tissue(half)
    left = disc(SIDE) & (np.arange(SIDE) < SIDE // 2)
    assert iou(found.blurred, left) > 0.9
    assert iou(found.mask, disc(SIDE) & ~left) > 0.9
    assert not (found.mask & found.blurred).any()


@pytest.mark.parametrize("side", [1, 3, 8])
def test_a_picture_of_a_few_px_is_no_error(side):
    assert find_tissue(np.full((side, side, 3), (200, 100, 160), np.uint8)).mask.shape == (side, side)


@pytest.mark.parametrize("levels", [1, 4])
def test_the_small_picture_is_the_slide_whatever_its_pyramid(tmp_path, levels):
    """Read in blocks, so that a slide without a pyramid takes no more memory than one with it."""
    whole = draw(2048, seed=2)
    slide = open_slide(write(tmp_path / "s.tif", whole, mpp=1.0, levels=levels), "openslide")
    small, px = small_picture(slide, 1.0)
    slide.close()
    assert (small.shape, px) == ((256, 256, 3), 8.0)
    blocks = whole.reshape(256, 8, 256, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 1.0


# Outlined by eye on pictures of 952 and 1500 px width; px of those pictures, and of the second what is glass.
SKIN = [
    (462, 33), (488, 48), (492, 72), (535, 80), (568, 92), (572, 122), (604, 143), (612, 182), (638, 200), (664, 222),
    (683, 252), (690, 300), (690, 360), (693, 396), (690, 440), (686, 470), (690, 520), (705, 590), (725, 578), (757, 562),
    (773, 600), (740, 640), (705, 685), (672, 730), (655, 775), (690, 790), (735, 775), (805, 795), (790, 850), (785, 900),
    (800, 950), (800, 1005), (775, 1030), (795, 1060), (760, 1060), (758, 1110), (745, 1190), (728, 1273), (230, 1273),
    (218, 1190), (225, 1130), (255, 1085), (290, 1060), (312, 1000), (315, 935), (345, 820), (350, 760), (362, 700),
    (367, 640), (375, 560), (380, 475), (372, 465), (330, 472), (300, 462), (250, 458), (205, 468), (120, 487), (28, 491),
    (95, 468), (160, 450), (215, 438), (250, 432), (310, 455), (360, 460), (392, 400), (398, 350), (405, 310), (425, 230),
    (415, 215), (350, 218), (400, 205), (422, 195), (418, 165), (395, 150), (390, 100), (335, 105), (360, 70), (400, 75),
    (430, 65),
]  # fmt: skip
SKIN_HOLE = [(470, 135), (500, 130), (545, 165), (600, 185), (610, 215), (605, 270), (575, 330), (545, 255), (505, 265),
             (500, 215), (475, 155)]  # fmt: skip
SKIN_FLAKES = [(700, 440), (720, 405), (735, 430), (760, 465), (815, 465), (790, 490), (815, 545), (850, 570), (838, 590),
               (805, 605), (770, 560), (735, 530), (715, 490)]  # fmt: skip
GLAND_GLASS = [
    [(905, 1010), (970, 960), (1050, 930), (1120, 915), (1200, 885), (1290, 835), (1390, 810), (1500, 795), (1500, 850),
     (1450, 865), (1360, 850), (1290, 895), (1200, 910), (1140, 930), (1070, 970), (1000, 975), (930, 1015)],
    [(1160, 1125), (1200, 1105), (1240, 1070), (1300, 1015), (1340, 975), (1400, 940), (1500, 905), (1500, 940),
     (1430, 985), (1340, 1015), (1350, 1035), (1300, 1065), (1240, 1095), (1220, 1125)],
]  # fmt: skip


@pytest.mark.skipif(not REAL, reason="WSC_RAY_SLIDES names no folder of real slides")
@pytest.mark.parametrize(
    ("name", "mpp", "width", "tissue", "holes", "least"),
    [
        ("CMU-1-Small-Region.svs", 0.499, 952, [SKIN, SKIN_FLAKES], [SKIN_HOLE], 0.9),
        ("CropBreastSlide.tiff", 2.0, 1500, [[(0, 0), (1500, 0), (1500, 1125), (0, 1125)]], GLAND_GLASS, 0.9),
    ],
)
def test_real_slides_beside_outlines_drawn_by_hand(name, mpp, width, tissue, holes, least):
    slide = open_slide(Path(REAL) / name, "openslide")
    small, px = small_picture(slide, mpp)
    level0 = slide.size[0] / width
    slide.close()
    truth = np.zeros(small.shape[:2], np.uint8)
    for polygons, value in ((tissue, 1), (holes, 0)):
        for polygon in polygons:
            cv2.fillPoly(truth, [np.round(np.array(polygon) * level0 / px).astype(np.int32)], value)
    found = find_tissue(small)
    score = iou(found.mask, truth.astype(bool))
    assert score > least, score
    assert not found.pen.any()
    assert not found.blurred.any()
    soft = find_tissue(cv2.GaussianBlur(small, (0, 0), 2))  # 16 um
    assert soft.blurred.sum() > 0.95 * found.mask.sum()
