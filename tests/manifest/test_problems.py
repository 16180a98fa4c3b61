import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from wsc_ray.cohort.cohort import make_cohort
from wsc_ray.manifest.counts import count
from wsc_ray.manifest.problems import find_problems
from wsc_ray.manifest.schema import schema_for
from wsc_ray.manifest.slides_of_rows import slides_of_rows

from .cohort import cohort


def checked(**replaced: list) -> list[str]:
    table = cohort(3, 3, **replaced).drop_columns("image")
    return find_problems(table, columns=[*table.column_names, "image"])


def column(name: str, **changes) -> dict[str, list]:
    values = cohort(3, 3)[name].to_pylist()
    for row, value in changes.items():
        values[int(row.removeprefix("row"))] = value
    return {name: values}


def test_a_good_table_has_no_problem():
    assert checked() == []
    assert checked(mpp=[None] * 9) == []


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        (
            column("label", row4="negative"),
            "slide with two labels: 1 slide: s1 has positive (row 3) and negative (row 4)",
        ),
        (column("patient_id", row4="p9"), "slide with two patients: 1 slide: s1 has p1 (row 3) and p9 (row 4)"),
        (column("split", row2="val"), "slide with two splits: 1 slide: s0 has train (row 0) and val (row 2)"),
        (
            column("x", row5=0),
            "duplicate patches (same slide, x, y, level, mpp): 1 row: row 5 (slide s1, x 0, y 1) repeats row 3",
        ),
        (column("slide_id", row0=None), "null slide_id: 1 row: row 0 (no slide, x 0, y 0)"),
        (column("patient_id", row0=""), "null patient_id: 1 row: row 0 (slide s0, x 0, y 0)"),
        (column("x", row8=None), "null x: 1 row: row 8 (slide s2, x None, y 2)"),
        (column("patch_size", row8=0), "patch_size must be at least 1 px: 1 row: row 8"),
        (column("level", row8=-1), "level must be 0 or more: 1 row: row 8"),
        (column("mpp", row8=0.0), "mpp must be above 0 um/px: 1 row: row 8"),
        (column("mpp", row8=float("nan")), "mpp must be above 0 um/px: 1 row: row 8"),
        ({"slide_id": ["a/b"] * 3 + [".c"] * 3 + ["d"] * 3}, "slide_id that cannot be a file name"),
        ({"slide_id": ["a/b"] * 3 + [".c"] * 3 + ["d"] * 3}, "2 slides: 'a/b' (row 0), '.c' (row 3)"),
        ({"patient_id": ["p"] * 3 + ["P"] * 3 + ["r"] * 3}, "`patient_id` has values that differ only in how"),
        ({"slide_id": ["s"] * 3 + ["S"] * 3 + ["t"] * 3}, "slides whose ids differ only in capitals"),
        ({"patient_id": ["p\n"] * 3 + ["q"] * 3 + ["r"] * 3}, "patient_id that cannot be a file name"),
    ],
)
def test_each_problem_names_its_rows(replaced, said):
    assert any(said in problem for problem in checked(**replaced)), checked(**replaced)


def test_a_patient_in_two_splits():
    problems = checked(patient_id=["p"] * 9)
    assert problems == ["patient with two splits: 1 patient: p has train (row 0) and test (row 3)"]


def test_patches_of_two_scales_may_have_one_corner():
    assert checked(**column("x", row1=0), **column("mpp", row1=1.0)) == []
    assert checked(mpp=[None] * 9, **column("x", row1=0)) != []


def test_problems_come_together():
    problems = checked(
        **column("label", row4="negative"), **column("x", row1=0, row2=0), **column("patch_size", row8=None)
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "null patch_size",
        "slide with two labels",
        "duplicate patches (same slide, x, y, level, mpp)",
    ]
    assert "row 1 (slide s0, x 0, y 0) repeats row 0, row 2 (slide s0, x 0, y 0) repeats row 0" in problems[2]


def test_five_examples_and_then_a_count():
    problem = checked(x=[0] * 9, y=[0] * 9, slide_id=["s"] * 9, patient_id=["p"] * 9, split=["t"] * 9, label=["l"] * 9)
    assert problem[0].count("repeats") == 5
    assert problem[0].endswith("and 3 more")


def test_missing_columns_and_no_patches():
    table = cohort().drop_columns(["label", "image"])
    assert find_problems(table) == ["missing columns: label, one of image, image_uri, slide_uri"]
    empty = schema_for([*cohort().column_names]).empty_table()
    assert find_problems(empty) == ["no patches: the table has no rows"]


def test_rows_without_pixels():
    table = cohort(3, 3).drop_columns("image").append_column("image_uri", pa.array(["a", None, *"bcdefgh"]))
    assert find_problems(table) == ["no pixels (image_uri null): 1 row: row 1 (slide s0, x 8, y 0)"]


def test_one_image_under_two_slides():
    table = cohort(3, 3).drop_columns("image")
    uris = [f"a/{row}.png" for row in range(9)]
    for name in ("a/2.png", "./a/2.png", "a/./2.png"):
        changed = table.append_column("image_uri", pa.array([*uris[:5], name, *uris[6:]]))
        assert find_problems(changed) == [
            "one image under several slides: 1 row: row 5 (slide s1, x 16, y 1) has that of row 2"
        ]
    once_more = table.append_column("image_uri", pa.array([*uris[:4], "a/3.png", None, *uris[6:]]))
    assert [each for each in find_problems(once_more) if "several slides" in each] == [], "twice in one slide"


def test_dictionaries_in_several_chunks_are_read_as_strings():
    table = cohort(4, 3).drop_columns("image").append_column("image_uri", pa.array([f"u{n}" for n in range(12)]))
    coded = [table.set_column(0, "slide_id", table["slide_id"].dictionary_encode()).slice(start, 6) for start in (0, 6)]
    assert find_problems(pa.concat_tables(coded)) == []
    assert counted(pa.concat_tables(coded)) == counted(table)


def counted(table: pa.Table) -> dict:
    patches = Counter(table["slide_id"].to_pylist())
    return count(make_cohort(slides_of_rows(table), "here"), patches)


def test_counts():
    found = counted(cohort(6, 7))
    assert (found["patches"], found["slides"], found["patients"]) == (42, 6, 6)
    one = {"patches": 7, "slides": 1, "patients": 1}
    two = {"patches": 14, "slides": 2, "patients": 2}
    assert found["splits"] == {
        "test": {"negative": one, "positive": one},
        "train": {"negative": two, "positive": two},
    }


def test_half_a_million_rows_take_about_a_second():
    rows = 500_000
    slide = pa.DictionaryArray.from_arrays(
        np.arange(rows, dtype=np.int32) // 1000, [f"s{n}" for n in range(rows // 1000)]
    )
    same = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["a"])
    numbers = {"x": np.arange(rows) % 1000, "y": np.zeros(rows, int), "patch_size": np.ones(rows, np.int32)}
    table = pa.table(
        {
            "slide_id": slide,
            "patient_id": slide,
            "label": same,
            "split": same,
            **numbers,
            "level": np.zeros(rows, np.int16),
            "mpp": np.ones(rows, np.float32),
        }
    )
    start = time.process_time()
    assert find_problems(table, columns=[*table.column_names, "image"]) == []
    assert time.process_time() - start < 10  # a second or so; a loop over rows would take far longer
