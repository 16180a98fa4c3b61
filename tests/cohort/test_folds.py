"""Folds of a cohort: whole patients or sites, every label in each, in a table that `data.cohort` takes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from wsc_ray.cohort import choose_slides, read_cohort, write_cohort
from wsc_ray.cohort.folds import make_folds
from wsc_ray.cohort.tables import read_user_table
from wsc_ray.commands import cohort_folds
from wsc_ray.errors import DataError, ManifestError, RunFolderError
from wsc_ray.recipe.sections import Data

PATIENTS = [f"p{number:02d}" for number in range(40) for _ in range(1 + number % 3)]
LABELS = ["positive" if int(patient[1:]) % 4 == 0 else "negative" for patient in PATIENTS]
SITES = [f"site-{int(patient[1:]) // 8}" for patient in PATIENTS]  # five, with both labels each


def test_patients_stay_together_and_labels_are_shared_out():
    names = np.array(make_folds(PATIENTS, LABELS, None, by="patient", folds=5, seed=0))
    assert sorted(set(names)) == ["0", "1", "2", "3", "4"]
    for patient in set(PATIENTS):
        assert len(set(names[np.array(PATIENTS) == patient])) == 1
    positive = np.array(LABELS) == "positive"
    counts = [positive[names == name].sum() for name in sorted(set(names))]
    assert max(counts) - min(counts) <= 3  # a patient has three slides at most
    assert set(make_folds(PATIENTS, LABELS, None, by="patient", folds=5, seed=1)) == set(names)
    assert make_folds(PATIENTS, LABELS, None, by="patient", folds=5, seed=1) != list(names)


def test_folds_do_not_depend_on_the_order_of_slides():
    order = np.random.default_rng(0).permutation(len(PATIENTS))
    shuffled = make_folds([PATIENTS[i] for i in order], [LABELS[i] for i in order], None, by="patient", folds=4, seed=0)
    names = make_folds(PATIENTS, LABELS, None, by="patient", folds=4, seed=0)
    assert shuffled == [names[i] for i in order]


def test_sites_stay_together():
    names = make_folds(PATIENTS, LABELS, SITES, by="site", folds=2, seed=0)
    assert set(names) == {"0", "1"}
    assert len(set(zip(SITES, names, strict=True))) == 5
    assert make_folds(PATIENTS, LABELS, SITES, by="leave-one-site-out", folds=2, seed=0) == SITES


@pytest.mark.parametrize(
    ("patients", "labels", "sites", "options", "message"),
    [
        (["a", "b"], ["x", "y"], None, {"folds": 2}, r"fewer patients than 2 folds: x \(1\), y \(1\)"),
        (PATIENTS, LABELS, None, {"folds": 11}, r"fewer patients than 11 folds: positive \(10\)"),
        (PATIENTS, ["x"] * len(PATIENTS), None, {}, "one label only"),
        (PATIENTS, LABELS, None, {"by": "site"}, "no column `site`"),
        (PATIENTS, LABELS, [None, *SITES[1:]], {"by": "site"}, "1 slides have no site, of patients p00"),
        (PATIENTS, LABELS, SITES, {"by": "site", "folds": 6}, "fewer sites than 6 folds"),
        (["a", "a"], ["x", "y"], ["s", "t"], {"by": "site"}, "patient a has slides in s and in t"),
        (["a", "b"], ["x", "y"], ["s", "t"], {"by": "leave-one-site-out"}, "fold s would have no slide of y"),
        (["a", "b"], ["x", "y"], ["s", "s"], {"by": "leave-one-site-out"}, "all slides are of one site"),
        (["a", "b"], ["x", "y"], ["s/1", "t"], {"by": "leave-one-site-out"}, "cannot be file names.*'?s/1"),
    ],
)
def test_folds_that_cannot_be(patients, labels, sites, options, message):
    with pytest.raises(DataError, match=message):
        make_folds(patients, labels, sites, **{"by": "patient", "folds": 2, "seed": 0, **options})


@pytest.fixture
def folder(tmp_path):
    slides = {"slide_id": [f"s{i}" for i in range(len(PATIENTS))], "patient_id": PATIENTS, "label": LABELS}
    write_cohort(tmp_path / "cohort", pa.table({**slides, "site": SITES, "patches": [3] * len(PATIENTS)}))
    return tmp_path / "cohort"


@pytest.mark.parametrize("name", ["folds.csv", "folds.parquet"])
def test_the_table_goes_over_its_cohort(folder, tmp_path, name):
    summary = cohort_folds(cohort=folder, out=tmp_path / name, folds=4, column="fold_0")
    assert list(summary["folds"]) == ["0", "1", "2", "3"]
    assert sum(counts["patients"] for counts in summary["folds"].values()) == len(set(PATIENTS))
    assert sum(counts["positive"] for counts in summary["folds"].values()) == LABELS.count("positive")
    cohort = read_cohort(folder)
    chosen = choose_slides(cohort, Data(cohort=str(tmp_path / name), fold="fold_0"))
    assert sorted(set(chosen.slides["fold"].to_pylist())) == ["0", "1", "2", "3"]
    assert chosen.slides["split"].to_pylist() == [None] * len(PATIENTS)
    assert chosen.slides["patches"].to_pylist() == [3] * len(PATIENTS)  # the store's own


def test_a_table_is_read_and_kept_with_its_columns(tmp_path):
    rows = [f"{p},{i:03d},{label},{i % 3}" for i, (p, label) in enumerate(zip(PATIENTS, LABELS, strict=True))]
    (tmp_path / "t.csv").write_text("\n".join(["case_id,slide_id,grade,stage", *rows, "p99,zz,,1"]) + "\n")
    summary = cohort_folds(cohort=tmp_path / "t.csv", out=tmp_path / "f.csv", target="grade", folds=2)
    assert summary["slides_without_label"] == 1
    table = read_user_table(str(tmp_path / "f.csv"))
    assert table.names == ["case_id", "slide_id", "grade", "stage", "fold"]
    assert table.texts("slide_id")[:2] == ["000", "001"]
    assert table.texts("fold")[-1] is None


def test_what_a_user_can_do_wrong_writes_nothing(folder, tmp_path):
    out = tmp_path / "f.csv"
    with pytest.raises(ManifestError, match=r"no slides\.parquet"):
        cohort_folds(cohort=tmp_path, out=out)
    with pytest.raises(DataError, match="no column `grade`"):
        cohort_folds(cohort=folder, out=out, target="grade")
    with pytest.raises(DataError, match="has a column `site` already"):
        cohort_folds(cohort=folder, out=out, column="site")
    (tmp_path / "t.csv").write_text("slide_id,patient_id,label\na,,x\nb,q,y\n")
    with pytest.raises(DataError, match="1 rows without a patient"):
        cohort_folds(cohort=tmp_path / "t.csv", out=out)
    assert not out.exists()
    out.touch()
    with pytest.raises(RunFolderError, match="exists"):
        cohort_folds(cohort=folder, out=out)


def test_a_patient_in_two_folds_is_an_error_whatever_the_table_says(folder, tmp_path):
    rows = [f"s{i},{i % 2}" for i in range(len(PATIENTS))]
    (tmp_path / "f.csv").write_text("\n".join(["slide_id,fold", *rows]) + "\n")
    with pytest.raises(DataError, match="patients in several values of `fold`"):
        choose_slides(read_cohort(folder), Data(cohort=str(tmp_path / "f.csv"), fold="fold"))
