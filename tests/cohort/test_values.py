import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from wsc_ray.cohort.values import MISSING, as_number, as_text, suggest, tidy


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a", " b ", "", None], ["a", "b", None, None]),
        ([1.0, 2.0, np.nan], ["1", "2", None]),
        ([1.5, 2.0], ["1.5", "2"]),
        ([True, False, None], ["true", "false", None]),
        (pa.array([1, None, 3], pa.int8()), ["1", None, "3"]),
        (["007", "NA", "nan"], ["007", None, None]),
    ],
)
def test_any_column_as_text(values, texts):
    assert as_text(pa.array(values)).to_pylist() == texts
    assert as_text(pa.array(values).dictionary_encode()).to_pylist() == texts
    assert as_text(pa.chunked_array([pa.array(values)[:1], pa.array(values)[1:]])).to_pylist() == texts


def test_a_label_is_the_same_in_every_kind_of_table(tmp_path):
    """Labels as booleans, floats and integers: from Parquet's types and from what pandas writes as CSV."""
    for values, texts in (
        ([True, False, None], ["true", "false", None]),
        ([1, 0, None], ["1", "0", None]),
        ([1.0, 0.0, None], ["1", "0", None]),
    ):
        frame = pd.DataFrame({"label": values})
        frame.to_csv(tmp_path / "t.csv", index=False)
        as_csv = pa.array(pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False).label.tolist())
        assert as_text(as_csv, label=True).to_pylist() == texts
        assert as_text(pa.array(values), label=True).to_pylist() == texts


def test_what_pandas_takes_for_missing(tmp_path):
    for word in sorted(MISSING):
        (tmp_path / "t.csv").write_text(f"a,b\n{word},1\n")
        assert pd.read_csv(tmp_path / "t.csv").a.isna().all(), word
        assert tidy([word]) == [None]
    assert tidy(["none", "negative", "N"]) == ["none", "negative", "N"]


def test_what_people_write_for_missing():
    words = [
        "NAN",
        "Nan",
        "nAn",
        "Null",
        "N/a",
        "#n/a",
        "<na>",
        "nA",
        "n.A.",
        "\u2013",
        "\u2014",
        "\u2212",
        "...",
        "\u2026",
    ]
    assert tidy(words) == [None] * len(words)
    assert tidy(["NONE", "nana", "nullipara"]) == ["NONE", "nana", "nullipara"]
    assert tidy(["+", "\u2212", "-"]) == ["+", "\u2212", "-"], "positive and negative"


def test_a_column_of_true_and_false_and_others_stays():
    assert tidy(["True", "False"], label=True) == ["true", "false"]
    assert tidy(["True", "maybe"], label=True) == ["True", "maybe"]


def test_numbers():
    assert as_number(pa.chunked_array([pa.array(["1", "NA", " 2 "])]), pa.int64()).to_pylist() == [1, None, 2]
    assert as_number(pa.chunked_array([pa.array([1.0, np.nan])]), pa.int32()).to_pylist() == [1, None]
    with pytest.raises(pa.ArrowException):
        as_number(pa.chunked_array([pa.array(["1.5"])]), pa.int64())


def test_suggestions():
    assert suggest("Lable", ["label", "split"]) == ", did you mean `label`?"
    assert suggest("xyz", ["label"]) == "; there are label"
