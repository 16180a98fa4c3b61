"""What `predict --features` refuses, in a sentence and before it writes anything."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from tests.mil.cohort import write_store
from tests.predict.conftest import EMBED, there
from wsc_ray.commands import predict
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.features.store import SlideFeatures, read_slides, slide_path, write_slide, write_slides
from wsc_ray.files import write_json


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoder": "b" * 64, "size": 32}, "by another encoder"),
        ({"encoder": "a" * 64, "size": 48}, "patches of 48 px"),
    ],
)
def test_features_of_another_encoder_are_refused(places, wsc_ray_command, change, sentence):
    write_json(places["features"] / "identity.json", {"command": "embed", **change})
    status, text = wsc_ray_command("predict", *(word for n, p in places.items() for word in (f"--{n}", p)))
    assert status == 2
    assert sentence in text
    assert len(text.strip().splitlines()) == 1
    assert not places["out"].exists()


def test_features_of_another_width_or_with_nan_are_refused(places):
    wide = SlideFeatures("test-004", np.zeros((3, 9), np.float32), np.zeros((3, 2), np.int64))
    for slide in (wide, SlideFeatures("test-004", np.full((3, 8), np.nan, np.float32), wide.coords)):
        write_slide(places["features"], slide, attributes={}, coords_attributes={})
        table = read_slides(places["features"]).slides
        ids = table["slide_id"].to_pylist()
        counts = [3 if s == "test-004" else n for s, n in zip(ids, table["patches"].to_pylist(), strict=True)]
        write_slides(
            places["features"], table.set_column(table.column_names.index("patches"), "patches", pa.array(counts))
        )
        with pytest.raises(DataError, match=r"test-004 (have 9 dimensions|are not all finite)"):
            predict(**places)
        assert not places["out"].exists()


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "=cmd", "..", "a\nb"])
def test_an_id_that_is_html_or_a_path_is_refused(places, name, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    shutil.copy(slide_path(places["features"], "test-000"), folder / f"{name}x.h5")
    before = there(tmp_path)
    if (folder / f"{name}x.h5").name.startswith("."):
        expected = "holds no feature files"
    else:
        expected = "cannot be the id of a slide"
    with pytest.raises(DataError, match=expected):
        predict(features=folder, head=places["head"], out=places["out"])
    assert there(tmp_path) == before


def test_another_head_or_other_slides_in_the_same_folder_are_refused(places, tmp_path):
    predict(**places)
    other = write_store(tmp_path / "other", slides={"test": 4})
    write_json(other / "identity.json", EMBED)
    with pytest.raises(RunFolderError, match=r"predictions with other settings(.|\n)*`features`"):
        predict(**places | {"features": other})
    shutil.rmtree(places["head"] / "members" / "seed-2")
    with pytest.raises(RunFolderError, match="`head`"):
        predict(**places)


def test_one_input_is_given(places):
    with pytest.raises(RecipeError, match="nothing to predict: give one of SLIDES, --manifest and --features"):
        predict(head=places["head"], out=places["out"])
    with pytest.raises(RecipeError, match="all of --manifest, --features"):
        predict(**places, manifest="m")
    with pytest.raises(RecipeError, match="--head: missing"):
        predict(features=places["features"], out=places["out"])
    assert not os.path.exists(places["out"])
