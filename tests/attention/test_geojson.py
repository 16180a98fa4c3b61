"""The GeoJSON and the file of a slide's attention, held to what QuPath's import and RFC 7946 ask."""

import json

import numpy as np
import pytest
from shapely.geometry import shape

from wsc_ray.attention.file import AttentionMap, read_attention, write_attention
from wsc_ray.attention.geojson import feature_collection, write_geojson
from wsc_ray.errors import DataError


def looked(attention, coords, slide_id="s", **attributes):
    attributes = {"patch_size": 64, "patch_size_level0": 128, **attributes}
    return AttentionMap(
        slide_id,
        np.array(coords, np.int64),
        ["seed-0", "seed-1"],
        np.array([attention, attention], np.float32),
        ["negative", "positive"],
        np.array([[0.2, 0.8], [0.4, 0.6]]),
        attributes,
    )


@pytest.fixture
def found():
    return looked([0.05, 0.4, 0.45, 0.1], [(0, 0), (128, 0), (128, 128), (1000, 7)])


def test_what_qupath_needs_of_a_feature(found, tmp_path):
    write_geojson(tmp_path / "s.geojson", feature_collection(found))
    collection = json.loads((tmp_path / "s.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == 5
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            assert all(isinstance(number, int) for point in ring for number in point)
        assert shape(feature["geometry"]).is_valid
        assert shape(feature["geometry"]).exterior.is_ccw, "RFC 7946, 3.1.6"
        properties = feature["properties"]
        assert properties["objectType"] in ("annotation", "detection")
        # A classification without one of the two is an error of QuPath's reader.
        assert set(properties["classification"]) == {"name", "color"}
        assert all(0 <= part <= 255 and isinstance(part, int) for part in properties["classification"]["color"])
        assert all(isinstance(value, float | int) for value in properties["measurements"].values())
        assert properties["measurements"]["Slide probability: positive"] == pytest.approx(0.7)


def test_measurements_of_patches_and_of_the_area(found):
    area, *patches = feature_collection(found)["features"]
    assert shape(area["geometry"]).bounds == (128, 0, 256, 256)
    measured = area["properties"]["measurements"]
    assert measured["Attention"] == pytest.approx(0.85)
    assert measured["Highest attention"] == pytest.approx(0.45)
    assert measured["Patches"] == 2
    attention = [each["properties"]["measurements"]["Attention"] for each in patches]
    assert attention == pytest.approx([0.05, 0.4, 0.45, 0.1])
    assert patches[1]["properties"]["measurements"]["Relative attention"] == pytest.approx(1.6)
    ranks = [each["properties"]["measurements"]["Attention percentile"] for each in patches]
    assert ranks == [12.5, 62.5, 87.5, 37.5]
    assert patches[2]["properties"]["color"] != patches[0]["properties"]["color"]


def test_even_attention_makes_no_area():
    features = feature_collection(looked([0.25] * 4, [(i * 128, 0) for i in range(4)]))["features"]
    assert [each["properties"]["objectType"] for each in features] == ["detection"] * 4
    assert {each["properties"]["measurements"]["Attention percentile"] for each in features} == {50}


def test_patches_of_unknown_place_or_size_are_a_sentence(found):
    with pytest.raises(DataError, match="do not say where patches lie"):
        feature_collection(looked([1.0], [(-1, -1)]))
    with pytest.raises(DataError, match="how large they are at level 0"):
        feature_collection(looked([1.0], [(0, 0)], patch_size_level0=None))


def test_the_file_is_read_as_it_was_written(found, tmp_path):
    path = write_attention(tmp_path / "attention", found)
    again = read_attention(tmp_path / "attention", "s")
    for name in ("coords", "attention", "member_attention", "member_probabilities", "probabilities"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert (again.members, again.classes, again.attributes) == (found.members, found.classes, found.attributes)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="attention of slide s cannot be read from"):
        read_attention(tmp_path / "attention", "s")


@pytest.mark.parametrize("slide", ["../s", "<b>", "a/b", ""])
def test_an_id_that_is_no_file_name_writes_nothing(tmp_path, slide):
    with pytest.raises(DataError, match="cannot be a file name"):
        write_attention(tmp_path / "attention", looked([1.0], [(0, 0)], slide))
    assert not list(tmp_path.rglob("*"))
