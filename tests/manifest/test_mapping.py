import numpy as np
import pyarrow as pa
import pytest

from wsc_ray.cohort.values import as_number, as_text
from wsc_ray.manifest.mapping import build_table, choose_columns
from wsc_ray.manifest.schema import COLUMNS


def chunked(values: list, type_: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type_)])


NAMES = ["slide_id", "patient_id", "label", "split", "x", "y", "patch_size", "level", "mpp", "image"]


def test_names_that_agree_need_no_mapping():
    chosen, problems = choose_columns(NAMES, {}, {}, [])
    assert problems == []
    assert chosen == {name: name for name in NAMES}


def test_a_mapping_and_a_constant_win_over_a_column_of_that_name():
    chosen, problems = choose_columns([*NAMES, "grade"], {"label": "grade"}, {"split": "train"}, [])
    assert problems == []
    assert chosen["label"] == "grade"
    assert "split" not in chosen


def test_all_problems_are_listed_together():
    available = ["slide_id", "grade", "x", "y"]
    problems = choose_columns(available, {"labl": "grade", "y": "Y"}, {"x": 1, "image": "a"}, [])[1]
    said = "\n".join(problems)
    assert "`labl` is not a column of a manifest that can be set this way, did you mean `label`?" in said
    assert "`image` is not a column of a manifest that can be set this way" in said
    assert "`y`: the source has no column `Y`, did you mean `y`?" in said
    assert '`split` is missing: name its source column, or give a constant (such as "train")' in said
    assert "`patient_id` is missing: name its source column; use that of slide_id if every slide" in said
    assert "pixels are missing" in said
    assert "level" not in said


def test_pixels_come_from_one_column():
    available = [*NAMES, "image_uri", "path"]
    assert "image_uri" not in choose_columns(available, {}, {}, [])[0]
    chosen, _ = choose_columns(available, {"image_uri": "path"}, {}, [])
    assert chosen["image_uri"] == "path"
    assert "image" not in chosen


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (chunked([1, 0, None], pa.int8()), ["1", "0", None]),
        (chunked([1.0, 0.0, None]), ["1", "0", None]),
        (chunked([1.5, 0.0]), ["1.5", "0"]),
        (chunked(np.array([1.0, 0.0, np.nan], np.float16)), ["1", "0", None]),
        (chunked(np.array([1.5, 0.0], np.float16)), ["1.5", "0"]),
        (chunked(["1.0", " a ", "007"]), ["1", "a", "007"]),
        (chunked(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (chunked([True, False]), ["true", "false"]),
        (chunked([None, None], pa.null()), [None, None]),
    ],
)
def test_labels_become_clean_strings(column, expected):
    text = as_text(column, label=True)
    assert text.type == pa.dictionary(pa.int32(), pa.string())
    assert text.to_pylist() == expected


def test_ids_keep_their_text():
    assert as_text(chunked(["1.0", "007"])).to_pylist() == ["1.0", "007"]


def test_numbers_are_neither_rounded_nor_cut_off():
    assert as_number(chunked([96.0, None]), COLUMNS.field("x").type).to_pylist() == [96, None]
    assert as_number(chunked(["96", " 7 ", "8.0"]), COLUMNS.field("x").type).to_pylist() == [96, 7, 8]
    assert as_number(chunked([0.1]), COLUMNS.field("mpp").type).type == pa.float32()
    for name, values in (("x", [0.5]), ("x", ["a"]), ("level", [70000]), ("patch_label", [300])):
        with pytest.raises(pa.ArrowException):
            as_number(chunked(values), COLUMNS.field(name).type)


def test_build_table_fills_defaults_and_constants():
    table, problems = build_table({"x": chunked([1, 2])}, 2, {"split": "train", "patch_size": 96}, {})
    assert problems == []
    assert table.to_pylist() == [{"split": "train", "x": x, "patch_size": 96, "level": 0, "mpp": None} for x in (1, 2)]


def test_build_table_names_the_row_of_a_wrong_value():
    far = build_table({"x": chunked([1, 2**63], pa.uint64())}, 2, {}, {})[1]
    assert far == ["`x` cannot be int64: row 1 is 9223372036854775808"]
    values = {"x": chunked(["1", "2", "left"]), "y": chunked([1, 2, 2.5])}
    _, problems = build_table(values, 3, {"level": "top"}, {})
    assert problems == [
        "`x` cannot be int64: row 2 is 'left'",
        "`y` cannot be int64: row 2 is 2.5",
        "`level` cannot be int16: row 0 is 'top'",
    ]


def test_label_names_must_cover_every_label():
    values = {"label": chunked([1, 0, 2, 1])}
    table, problems = build_table(values, 4, {}, {"1": "positive", "0": "negative", "2": "positive"})
    assert table["label"].to_pylist() == ["positive", "negative", "positive", "positive"]
    assert problems == []
    assert build_table(values, 4, {}, {"1": "positive"})[1] == ["label names are given, but not for '0', '2'"]
