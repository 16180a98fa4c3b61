"""Tissue that others have found: files of TRIDENT, GrandQC and QuPath, and what is wrong with one."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsc_ray.errors import DataError
from wsc_ray.slides.masks import find_masks, mask_identity, read_mask

SIZE, SHAPE, PX = (1000, 800), (100, 125), 8.0  # of a slide and its picture
RING = [[200, 160], [600, 160], [600, 480], [200, 480], [200, 160]]
HOLE = [[280, 240], [360, 240], [360, 320], [280, 320], [280, 240]]
BOX = np.zeros(SHAPE, bool)
BOX[20:60, 25:75] = True


def is_box(found):
    """Whether a mask is the box, to which px belong that its outline touches."""
    grown = cv2.dilate(BOX.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return bool(found[BOX].all() and not found[~grown].any())


def feature(*rings, kind="Polygon", **properties):
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": list(rings)}}


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


def given(folder: Path, values, name="s.geojson"):
    (folder / name).write_text(json.dumps(values))
    return read_mask(folder / name, SIZE, SHAPE, PX)


def png(folder: Path, mask, name="s.png"):
    assert cv2.imwrite(str(folder / name), mask)
    return read_mask(folder / name, SIZE, SHAPE, PX)


@pytest.mark.parametrize(
    "values",
    [
        collection(feature(RING, tissue_id=0)),  # TRIDENT
        collection(
            feature(RING, objectType="annotation", classification={"name": "Tissue", "color": [1, 2, 3]})
        ),  # QuPath
        [feature(RING, objectType="annotation")],  # QuPath's export without a collection
        feature([RING], kind="MultiPolygon"),
        {**feature(), "geometry": {"type": "GeometryCollection", "geometries": [feature(RING)["geometry"]]}},
    ],
    ids=["TRIDENT", "QuPath", "a list", "several parts", "a collection of shapes"],
)
def test_outlines_are_filled(tmp_path, values):
    assert is_box(given(tmp_path, values))


def test_holes_and_what_is_called_no_tissue_are_cut_out(tmp_path):
    found = given(tmp_path, collection(feature(RING, HOLE)))
    assert not found[31:39, 36:44].any()
    found[30:41, 35:46] = True
    assert is_box(found)
    for name in ({"name": "Ignore*"}, "Fold", "OOF", "PenMarking"):
        found = given(tmp_path, collection(feature(RING), feature(HOLE, classification=name)))
        assert not found[30:40, 35:45].any()
    found = given(tmp_path, collection(feature(RING), feature(HOLE, objectType="detection", classification="Ignore*")))
    assert is_box(found)
    inside = given(tmp_path, collection(feature(RING, HOLE), feature(HOLE)))
    assert is_box(inside)


def test_no_features_are_no_tissue(tmp_path):
    assert not given(tmp_path, collection()).any()
    assert not given(tmp_path, collection(feature(), feature(kind="MultiPolygon"))).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": 1}, "no features of GeoJSON"),
        (3, "no features of GeoJSON"),
        (collection({"type": "Feature"}), "has no geometry"),
        (collection(feature([1, 2], kind="Point")), "it holds a Point, and tissue is outlined by polygons"),
        (collection(feature([[1, 2]])), "fewer than three points"),
        (collection(feature([[10**400, 2]] * 4)), "not made of points"),
        (collection(feature([["a", 2]] * 4)), "not made of points"),
        (collection(feature([[float("nan"), 2]] * 4)), "points that are no numbers"),
        (collection(feature([[0, 0], [5000, 0], [5000, 700]])), "from 0 to 5,000 px in x, and the slide has 1,000"),
        (collection(feature(RING, classification="OOF")), "all of its outlines are called oof"),
        (collection(feature(RING, objectType="cell")), "detections, cells or tiles alone"),
    ],
)
def test_what_is_wrong_with_outlines_is_a_sentence(tmp_path, values, said):
    with pytest.raises(DataError, match=r"the mask .*s\.geojson cannot be used: .*" + said):
        given(tmp_path, values)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_a_sentence(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DataError, match="it is no JSON"):
        read_mask(tmp_path / "s.json", SIZE, SHAPE, PX)


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("value", [1, 255])
def test_a_png_is_tissue_where_it_is_not_0(tmp_path, scale, value):
    mask = cv2.resize(BOX.astype(np.uint8) * value, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(png(tmp_path, mask), BOX)
    grey = np.repeat(mask[..., None], 3, axis=2)
    np.testing.assert_array_equal(png(tmp_path, grey), BOX)


def test_the_two_masks_of_grandqc(tmp_path):
    np.testing.assert_array_equal(png(tmp_path, (~BOX).astype(np.uint8), "s.svs_MASK.png"), BOX)
    classes = np.full(SHAPE, 7, np.uint8)
    classes[BOX] = 1
    classes[30:40, 30:40] = 4  # a pen
    expected = BOX.copy()
    expected[30:40, 30:40] = False
    np.testing.assert_array_equal(png(tmp_path, classes, "s.svs_mask.png"), expected)
    for kind in (7, 4):  # a slide that is all background, or all pen
        assert not png(tmp_path, np.full(SHAPE, kind, np.uint8), "s.svs_mask.png").any()
    assert png(tmp_path, np.full(SHAPE, 255, np.uint8), "s.svs_mask.png").all()
    with pytest.raises(DataError, match="it holds the values 1, 4, 7, and a mask has 0 and one value for tissue"):
        png(tmp_path, classes, "s.png")


def test_what_is_wrong_with_a_png_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="not the shape of a slide of 1000 x 800 px"):
        png(tmp_path, np.zeros((100, 100), np.uint8))
    with pytest.raises(DataError, match="a picture in colour"):
        png(tmp_path, np.full((*SHAPE, 3), (1, 2, 3), np.uint8))
    with pytest.raises(DataError, match="16 bits"):
        png(tmp_path, np.zeros(SHAPE, np.uint16))
    whole = cv2.imencode(".png", BOX.astype(np.uint8))[1].tobytes()
    huge = whole[:16] + (10**9).to_bytes(4, "big") + whole[20:]
    for data, said in ((b"text", "it is no PNG"), (huge, "more than a mask has"), (whole[:40], "it is damaged")):
        (tmp_path / "s.png").write_bytes(data)
        with pytest.raises(DataError, match=said):
            read_mask(tmp_path / "s.png", SIZE, SHAPE, PX)
    (tmp_path / "s.tif").touch()
    with pytest.raises(DataError, match=r"give a mask as \.geojson, \.json, \.png"):
        read_mask(tmp_path / "s.tif", SIZE, SHAPE, PX)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_mask(tmp_path / "none.png", SIZE, SHAPE, PX)


def test_a_mask_is_known_by_its_name_and_bytes(tmp_path):
    """The name decides what its values mean."""
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "a_MASK.png").write_bytes(b"1")
    one, other = (mask_identity(tmp_path / name) for name in ("a.png", "a_MASK.png"))
    assert one[0] != other[0]
    assert one[1] == other[1]
    assert mask_identity(tmp_path / "gone.png") == ["gone.png", None]


def test_masks_are_found_by_the_slides_id_or_file(tmp_path):
    slides = [("one", Path("x/a.svs")), ("two", Path("x/b.svs")), ("three", Path("x/c.svs")), ("four", Path("x/d.svs"))]
    for name in ("one.geojson", "b.png", "c.svs_MASK.png", "other.png"):
        (tmp_path / name).touch()
    found = find_masks(tmp_path, slides)
    assert {slide: path.name for slide, path in found.items()} == {
        "one": "one.geojson", "two": "b.png", "three": "c.svs_MASK.png",
    }  # fmt: skip
    (tmp_path / "a.json").touch()
    with pytest.raises(DataError, match=r"several masks of slide one: one\.geojson, a\.json"):
        find_masks(tmp_path, slides)
    with pytest.raises(DataError, match=r"holds no mask of these slides.*four\.geojson"):
        find_masks(tmp_path, slides[3:])
    with pytest.raises(DataError, match="cannot be read"):
        find_masks(tmp_path / "none", slides)
