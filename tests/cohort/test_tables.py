"""The reader of users' tables: the tables that it reads, and its sentences for those that it refuses."""

import gzip

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.cohort.tables import choose_column, read_user_table
from wsc_ray.errors import ManifestError


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def test_lines_are_those_of_the_file(tmp_path):
    table = read_user_table(written(tmp_path / "a.csv", 'a,b\n1,2\n\n3,"4\n5"\n,\n6,7\n'))
    assert table.texts("a") == ["1", "3", "6"]
    assert table.texts("b") == ["2", "4\n5", "7"]
    assert [table.where(row) for row in range(2)] == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "a,b\n1,x\n"),
        ("a.csv", "\ufeffa,b\r\n1,x\r\n"),
        ("a.csv", ' a , b \n1,"x"\n'),
        ("a.csv", "a,b,\n1,x,\n"),
        ("a.tsv", "a\tb\n1\tx\n"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,x\n", mtime=0)),
    ],
)
def test_forms_of_a_text_table(tmp_path, name, data):
    table = read_user_table(written(tmp_path / name, data))
    assert {column: table.texts(column) for column in table.names} == {"a": ["1"], "b": ["x"]}


def test_parquet_and_an_object_store(tmp_path):
    pq.write_table(pa.table({"a": [1.0, None], "b": ["x", "y"]}), tmp_path / "a.parquet")
    table = read_user_table(str(tmp_path / "a.parquet"))
    assert (table.texts("a"), table.where(1)) == (["1", None], "row 1")
    memory = fsspec.filesystem("memory")
    memory.pipe("/b/a.csv", b"a\n1\n")
    assert read_user_table("memory://b/a.csv").texts("a") == ["1"]
    memory.rm("/b", recursive=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a,b\n1,2,3\n4\n", r"line 2 \(3\), line 3 \(1\); put values that hold a comma into double quotes"),
        ("a,b,\n1,2,3\n", "a column without a name, in line 2"),
        ("a;b\n1;2\n", "looks semicolon-separated"),
        ("a\tb\n1\t2\n", "looks tab-separated"),
        ("a,a\n1,2\n", "several columns called a"),
        ("", "is empty"),
        (b"\xff\xfea\0,\0b\0", "UTF-16"),
        ("a,b\nx,Präparat\n".encode("latin-1"), "not UTF-8|UTF8"),
        (b"PK\x03\x04\0\0\0", "is not a text table"),
    ],
)
def test_a_file_that_is_not_a_table_is_an_error_sentence(tmp_path, data, said):
    path = written(tmp_path / "a.csv", data)
    with pytest.raises(ManifestError, match=said) as error:
        read_user_table(path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path):
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(ManifestError, match="does not exist"):
            read_user_table(str(tmp_path / name))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ManifestError, match="cannot be read as a Parquet table"):
        read_user_table(str(tmp_path / "a.parquet"))


def test_columns_by_other_names():
    assert choose_column(["case_id", "x"], "patient_id", ("case_id",)) == ("case_id", "")
    assert choose_column(["Patient_ID"], "patient_id") == (None, ", did you mean `Patient_ID`?")
    assert choose_column(["lable"], "label") == (None, ", did you mean `lable`?")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


ANY_CAPITALS = {"na", "n.a.", "n/a", "nan", "null", "#n/a", "<na>"}
DASHES = set("-\u2010\u2011\u2012\u2013\u2014\u2212")
MARKS = {"None", "--", "---", "?", "??", ".", "..", "...", "\u2026"}


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_what_pandas_writes_is_read_as_pandas_reads_it(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(path, index=False)
    expected = pd.read_csv(path, dtype=str, skip_blank_lines=False)
    expected = expected[~(expected.a.fillna("").str.strip().eq("") & expected.b.fillna("").str.strip().eq(""))]
    table = read_user_table(str(path))

    def plain(values):
        return [None if value is None or pd.isna(value) or not value.strip() else value.strip() for value in values]

    for name in ("a", "b"):
        ours, theirs = plain(table.texts(name)), plain(expected[name].tolist())
        # What is missing is so with blanks around it too, and so are people's own marks for it.
        missing = MARKS if "+" in theirs else MARKS | DASHES
        there = [v for v in theirs if v and v not in missing and v.lower() not in ANY_CAPITALS]
        assert [value for value in ours if value] == there
