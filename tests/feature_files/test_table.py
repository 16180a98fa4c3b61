"""A feature store as a source to train on: its row groups, its rows, and what it refuses."""

import pickle
import shutil

import h5py
import numpy as np
import pyarrow as pa
import pytest

from tests.feature_files.stores import ENCODER, SLIDES, VIEWS, WIDTH, features_of, write_slide, write_store
from wsc_ray import checksums
from wsc_ray.errors import DataError
from wsc_ray.feature_files.table import StoredViews, open_features
from wsc_ray.features.store import read_slides, write_slides
from wsc_ray.manifest.write import ROW_GROUP_ROWS
from wsc_ray.pixels import Unreadable
from wsc_ray.storage import as_path

LARGE = {"a": ("negative", 2 * ROW_GROUP_ROWS + 3), "b": ("positive", ROW_GROUP_ROWS), "none": ("negative", 0)}


def test_slides_are_cut_into_row_groups_of_their_own(tmp_path):
    table = open_features(str(write_store(tmp_path / "store", LARGE)))
    assert (table.views, table.width, table.encoder) == (VIEWS, WIDTH, ENCODER)
    assert [(g.file, g.row_group, g.rows) for g in table.row_groups] == [
        (0, 0, 128),
        (0, 1, 128),
        (0, 2, 3),
        (1, 0, 128),
    ]
    runs = table.runs()
    assert runs.patches() == {"a": 259, "b": 128}
    assert runs.slide.tolist() == [0, 0, 0, 1]
    assert table.cohort().ids == ["a", "b", "none"]


def test_rows_are_those_of_the_files_also_after_pickling(tmp_path):
    table = pickle.loads(pickle.dumps(open_features(str(write_store(tmp_path / "store", LARGE)))))  # noqa: S301
    rows = table.read_group(0, 2, ["slide_id", "x", "y", "views"])
    assert rows.select(["slide_id", "x", "y"]).to_pylist()[1] == {"slide_id": "a", "x": 257, "y": 514}
    assert table.read_group(1, 0, ["x"]).column_names == ["x"]
    expected = features_of("a", 259)[256:]
    np.testing.assert_array_equal(StoredViews(table).fetch(rows.to_pylist()), expected)


def test_rows_come_from_an_object_store_too(tmp_path, s3):
    local = write_store(tmp_path / "store", LARGE)
    bucket = as_path(s3.uri("feature-table"))
    for path in local.iterdir():
        (bucket / "store" / path.name).write_bytes(path.read_bytes())
    there, here = open_features(str(bucket / "store")), open_features(str(local))
    assert there.digest == here.digest
    for group in here.row_groups:
        rows = [t.read_group(group.file, group.row_group, ["slide_id", "x", "y", "views"]) for t in (here, there)]
        assert rows[0].equals(rows[1])


def test_the_digest_is_of_what_was_embedded_wherever_it_lies(tmp_path):
    one = write_store(tmp_path / "one")
    shutil.copytree(one, tmp_path / "two")
    digest = open_features(str(one)).digest
    assert open_features(str(tmp_path / "two")).digest == digest
    assert open_features(str(write_store(tmp_path / "three", encoder="f" * 64))).digest != digest
    fewer = dict(list(SLIDES.items())[1:])
    assert open_features(str(write_store(tmp_path / "four", fewer))).digest != digest


def test_views_that_are_no_numbers_are_unreadable(tmp_path):
    store = write_store(tmp_path / "store")
    broken = features_of("n1", SLIDES["n1"][1])
    broken[4, 2, 3], broken[5, 0, 0] = np.nan, np.inf
    write_slide(store, "n1", broken)
    table = open_features(str(store))
    found = StoredViews(table).fetch(table.read_group(1, 0, ["views"]).to_pylist())
    assert [row for row, views in enumerate(found) if isinstance(views, Unreadable)] == [4, 5]


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"slide a: its features reach 7e\+04, and views hold up to 65504"):
        write_slide(tmp_path, "a", np.full((2, 3, 4), 7e4, np.float32))


def lose(store):
    (store / "n2.h5").unlink()


def damage(store):
    (store / "n2.h5").write_bytes(b"no HDF5")


def flip(store):
    content = bytearray((store / "n2.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "n2.h5").write_bytes(content)


def widen(store):
    write_slide(store, "n2", features_of("n2", SLIDES["n2"][1], width=WIDTH + 1))


def add_views(store):
    write_slide(store, "n2", features_of("n2", SLIDES["n2"][1], views=VIEWS + 1))


def take_views(store):
    write_slide(store, "n2", features_of("n2", SLIDES["n2"][1]), views=False)


def shorten(store):
    write_slide(store, "n2", features_of("n2", SLIDES["n2"][1] - 1))


def make_whole_numbers(store):
    with h5py.File(store / "n2.h5", "a") as file:
        views = file["views"][:]
        del file["views"]
        file["views"] = views.astype(np.int32)
    with (store / "n2.h5").open("r+b") as file:  # as another tool writes it, without a checksum
        file.write(bytes(checksums.USER_BLOCK))


def empty(store):
    slides = read_slides(store).slides
    place = slides.column_names.index("patches")
    write_slides(store, slides.set_column(place, "patches", pa.array([0] * slides.num_rows)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose, "features of slide n2 are missing in .*; `wsc-ray embed` writes what is missing"),
        (damage, "features of slide n2 cannot be read from .*n2.h5"),
        (flip, "features of slide n2 cannot be read from .*n2.h5.*; delete the file and embed again"),
        (widen, "features of slide n2 in .* have 7 dimensions and those of n0 6; use one encoder"),
        (add_views, "slide n2 in .* has 5 views of each patch and n0 4"),
        (take_views, r"holds no views of each patch \(slide n2\).*`wsc-ray embed --views 8` writes"),
        (shorten, "while its table of slides says 11 patches; embed it again"),
        (make_whole_numbers, "embed it again"),
        (empty, "none of the 11 slides of .* has a patch"),
        (lambda store: (store / "identity.json").write_text("{"), "identity.json cannot be read"),
        (lambda store: (store / "slides.parquet").unlink(), "holds no features"),
    ],
)
def test_stores_that_cannot_be_trained_on(tmp_path, change, said):
    store = write_store(tmp_path / "store")
    open_features(str(store))
    change(store)
    with pytest.raises(DataError, match=said):
        open_features(str(store))


def test_one_view_is_no_pair(tmp_path):
    with pytest.raises(DataError, match="holds 1 view of each patch"):
        open_features(str(write_store(tmp_path / "store", views=1)))
