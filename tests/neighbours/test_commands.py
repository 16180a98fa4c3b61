"""`neighbours search` and `manifest check --features`, on a feature store and a manifest."""

import csv
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.manifest.cohort import cohort, write
from wsc_ray.commands import manifest_check, manifest_import, neighbours_search
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.features.store import SlideFeatures, read_slide, write_slide, write_slides
from wsc_ray.manifest import open_manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neighbours")
    table = write(cohort(), folder / "table.parquet")
    manifest_import(source=table, out=folder / "m")
    return folder / "m"


@pytest.fixture
def features(manifest, tmp_path):
    """Random features of every patch of the manifest, 8 wide."""
    opened = open_manifest(str(manifest))
    table, rng = opened.read_rows(["slide_id", "x", "y"]), np.random.default_rng(0)
    slides = np.array(table["slide_id"].to_pylist())
    coords = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    known = opened.cohort()
    for name in known.ids:
        own = coords[slides == name]
        values = rng.normal(size=(len(own), 8)).astype(np.float32)
        write_slide(tmp_path / "f", SlideFeatures(name, values, own), attributes={}, coords_attributes={})
    counts = pa.array([int((slides == name).sum()) for name in known.ids], pa.int64())
    write_slides(tmp_path / "f", known.slides.append_column("patches", counts))
    return tmp_path / "f"


def test_the_nearest_patches_of_a_slide(features, manifest, tmp_path):
    done = neighbours_search(features=features, slide="s1", out=tmp_path / "out", manifest=manifest, count=3)
    with (tmp_path / "out" / "nearest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * done["patches_asked"]
    assert "s1" not in {row["nearest_slide_id"] for row in rows}
    assert all(float(a["cosine"]) >= float(b["cosine"]) for a, b in pairwise(rows) if b["rank"] != "1")
    with Image.open(tmp_path / "out" / "nearest.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.std() > 10  # patches are there, not grey squares
    again = neighbours_search(features=features, slide="s1", out=tmp_path / "out", manifest=manifest, count=3)
    assert again["nearest"] == done["nearest"]


def test_one_patch_by_its_place(features, tmp_path):
    done = neighbours_search(features=features, slide="s2", patch="8,2", out=tmp_path / "out")
    assert done["patches_asked"] == 1
    assert done["picture"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slide": "nobody"}, "no slide nobody"),
        ({"slide": "s1", "patch": "7,7"}, "has no patch at 7,7; the nearest is at"),
        ({"slide": "s1", "patch": "middle"}, "X,Y of a patch"),
    ],
)
def test_wrong_questions_are_a_sentence(features, tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        neighbours_search(features=features, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_features_that_are_no_numbers(features, tmp_path):
    slide = read_slide(features, "s1")
    slide.features[0, 0] = np.nan
    write_slide(features, slide, attributes={}, coords_attributes={})
    with pytest.raises(DataError, match="features of slide s1 are not all finite"):
        neighbours_search(features=features, slide="s2", out=tmp_path / "out")


def test_check_passes_without_copies_and_names_them_with(features, manifest, tmp_path):
    assert manifest_check(manifest=manifest, features=features)["patches_compared"] == 42
    source, other = read_slide(features, "s0"), read_slide(features, "s5")
    count = len(other.features)
    write_slide(
        features, SlideFeatures("s5", source.features[:count], other.coords), attributes={}, coords_attributes={}
    )
    with pytest.raises(
        ManifestError, match=r"1 pair of slides of different patients.*\n  s0 and s5 \(splits train and test\)"
    ):
        manifest_check(manifest=manifest, features=features, out=tmp_path / "report")
    assert not (tmp_path / "report" / "summary.json").exists()
