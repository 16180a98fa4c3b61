"""The table of slides in its file, and another table laid over it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsc_ray.cohort import Cohort, choose_slides, read_cohort, write_cohort
from wsc_ray.cohort.overlay import overlay
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.recipe.sections import Data

SLIDES = {
    "slide_id": ["c", "a", "b"],
    "patient_id": ["q", "p", "p"],
    "label": ["positive", "negative", None],
    "split": ["test", "train", "train"],
    "mpp": pa.array([0.5, None, 0.25], pa.float32()),
}


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    return write_cohort(tmp_path, pa.table(SLIDES))


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return read_user_table(str(tmp_path / "t.csv"))


def test_it_comes_back_by_slide(cohort, tmp_path):
    again = read_cohort(tmp_path)
    assert again.texts("slide_id") == ["a", "b", "c"]
    assert again.columns == ["label", "split", "mpp"]
    assert again.slides["mpp"].to_pylist() == [None, 0.25, 0.5]
    assert again.digest() == cohort.digest()
    shuffled = write_cohort(tmp_path, pa.table(SLIDES).take([2, 0, 1]))
    assert shuffled.digest() == cohort.digest()
    assert read_cohort(tmp_path / "elsewhere") is None


def test_a_column_more_is_another_digest_and_the_others_stay(cohort):
    more = Cohort(cohort.slides.append_column("grade", pa.array(["1", "2", "3"])), "more")
    assert more.digest() != cohort.digest()
    assert more.digest(["slide_id", "label"]) == cohort.digest(["slide_id", "label"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slide_id": ["a", "a", "b"]}, "several times: a"),
        ({"slide_id": ["a", "../x", "b"]}, "cannot be a file name"),
        ({"patient_id": ["p", None, "q"]}, "null patient_id: row 1"),
        ({"grade": [{"gleason": 3}, None, None]}, r"something else than one text.*`grade` of type struct"),
        ({"label": [b"\xff", b"a", b"b"]}, r"something else than one text.*`label` of type binary"),
    ],
)
def test_a_table_that_is_not_a_cohort_is_neither_written_nor_read(tmp_path, change, said):
    bad = pa.table(SLIDES | change)
    with pytest.raises(ManifestError, match=said):
        write_cohort(tmp_path, bad)
    assert not list(tmp_path.iterdir())
    pq.write_table(bad, tmp_path / "slides.parquet")
    with pytest.raises(ManifestError, match=said):
        read_cohort(tmp_path)


def test_a_file_that_is_damaged_or_of_a_later_format(cohort, tmp_path):
    pq.write_table(pa.table(SLIDES).replace_schema_metadata({"wsc_ray.cohort": "9"}), tmp_path / "slides.parquet")
    with pytest.raises(ManifestError, match="has format 9"):
        read_cohort(tmp_path)
    (tmp_path / "slides.parquet").write_bytes(b"x" * 40)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_cohort(tmp_path)


def test_another_table_over_it(cohort, tmp_path):
    found, notes = overlay(cohort, table(tmp_path, "slide_id,grade,label\na,1.0,x\nb,0.0,\nz,1.0,x\n"))
    assert found.texts("grade") == ["1", "0"]
    assert found.texts("label") == ["x", None]
    assert found.texts("split") == ["train", "train"]
    assert [note.rpartition(": ")[2] for note in notes] == ["1", "1"]
    assert "take no part" in notes[0]
    assert "left aside" in notes[1]


def test_patients_speak_for_their_slides(cohort, tmp_path):
    found, _ = overlay(cohort, table(tmp_path, "case_id,label\np,x\nq,y\n"))
    assert found.texts("label") == ["x", "x", "y"]


def test_what_takes_part(cohort, tmp_path):
    chosen = choose_slides(cohort, Data())
    assert chosen.slides["slide_id"].to_pylist() == ["a", "c"]
    assert chosen.notes == ("slides that have no `label` and take no part: 1",)
    with pytest.raises(DataError, match=r"no column `fold`; there are label, split, mpp"):
        choose_slides(cohort, Data(split_column="fold"))
    (tmp_path / "c.csv").write_text("slide_id,split\na,train\nb,test\n")
    with pytest.raises(DataError, match="patient p has slides in test and in train"):
        choose_slides(cohort, Data(cohort=str(tmp_path / "c.csv")))
    (tmp_path / "c.csv").write_text("slide_id,patient_id,split\na,P,train\nb,p,test\n")
    with pytest.raises(
        DataError, match="`patient_id` has values that differ only in how they are written: 'P' and 'p'"
    ):
        choose_slides(cohort, Data(cohort=str(tmp_path / "c.csv")))
