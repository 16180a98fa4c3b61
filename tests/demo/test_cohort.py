"""The drawn cohort: reproducible, whole or absent, honest in its labels, and not solved by colour."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wsc_ray.demo import cohort
from wsc_ray.demo.cohort import SCHEMA, contact_sheet, write_cohort
from wsc_ray.demo.tissue import draw_patch, draw_stain
from wsc_ray.errors import DataError, RunFolderError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cohort(
        tmp_path_factory.mktemp("cohort"), slides=(12, 4, 6), patches_per_slide=8, patch_size=32, seed=3
    )


def test_table_has_the_columns_and_counts_asked_for(table):
    assert pq.read_schema(table).equals(SCHEMA)
    frame = pq.read_table(table).to_pandas()
    assert frame.groupby("slide_id").size().eq(8).all()
    assert frame.groupby("split").slide_id.nunique().to_dict() == {"train": 12, "val": 4, "test": 6}
    assert not frame.duplicated(["slide_id", "x", "y"]).any()
    image = cv2.imdecode(np.frombuffer(frame.image[0], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (32, 32, 3)


def test_slides_have_one_label_and_split_and_patients_do_not_cross_splits(table):
    frame = pq.read_table(table).to_pandas()
    assert frame.groupby("slide_id")[["slide_label", "split", "patient_id"]].nunique().eq(1).all(axis=None)
    assert frame.groupby("patient_id").split.nunique().eq(1).all()
    assert frame.groupby("patient_id").slide_id.nunique().max() == 2
    assert (frame.groupby("split").slide_label.mean() == 0.5).all()


def test_negative_slides_hold_no_tumour_and_positive_ones_some(table):
    frame = pq.read_table(table).to_pandas()
    tumour = frame.groupby(["slide_label", "slide_id"]).patch_label.mean()
    assert (tumour[0] == 0).all()
    assert (tumour[1] > 0).all()
    assert (tumour[1] < 0.5).all()


def test_same_seed_gives_the_same_bytes(tmp_path):
    def written(name, seed):
        return write_cohort(
            tmp_path / name, slides=(2, 2, 2), patches_per_slide=4, patch_size=32, seed=seed
        ).read_bytes()

    assert written("a", 1) == written("b", 1)
    assert written("a2", 1) != written("c", 2)


def test_an_existing_table_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "patches.parquet"
    path.write_bytes(b"mine")
    with pytest.raises(RunFolderError, match="exists already"):
        write_cohort(tmp_path, slides=(2, 2, 2), patches_per_slide=2, patch_size=16)
    assert path.read_bytes() == b"mine"
    with pytest.raises(RunFolderError, match="exists already"):
        write_cohort(path, slides=(2, 2, 2), patches_per_slide=2, patch_size=16)


def test_nothing_is_left_when_drawing_fails(tmp_path, monkeypatch):
    calls = iter(range(100))

    def fail_later(*args):
        if next(calls) == 9:
            raise KeyboardInterrupt
        return draw_patch(*args)

    monkeypatch.setattr(cohort, "draw_patch", fail_later)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, slides=(2, 2, 2), patches_per_slide=4, patch_size=16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"slides": (2, 2)},
        {"slides": (2, 1, 2)},
        {"tumour_fraction": (0.0, 0.3)},
        {"tumour_fraction": (0.4, 0.3)},
        {"patches_per_slide": 1},
        {"patch_size": 8},
    ],
)
def test_impossible_cohorts_are_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(DataError):
        write_cohort(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_colour_does_not_tell_tumour_from_normal():
    features, labels = [], []
    for slide in range(100):
        rng = np.random.default_rng([7, slide])
        stain = draw_stain(rng)
        for label in (0, 1) * 4:
            features.append(_colour(draw_patch(rng, bool(label), stain, 48)))
            labels.append(label)
    features, labels = np.array(features), np.array(labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(features[:400], labels[:400])
    assert (
        roc_auc_score(labels[400:], model.decision_function(features[400:])) < 0.65
    )  # chance 0.5, standard error 0.03


def _colour(image):
    """Mean and spread of R, G, B and a histogram of grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.concatenate([image.mean((0, 1)), image.std((0, 1)), np.histogram(grey, 16, (0, 255))[0] / grey.size])


def test_contact_sheet_is_a_picture(table, tmp_path):
    contact_sheet(table, tmp_path / "sheet.png", slides=4, patches=6)
    image = cv2.imread(str(tmp_path / "sheet.png"))
    assert image.shape == (4 * 68, 6 * 68, 3)
    assert (image == (60, 160, 0)).all(axis=2).any()  # the frame of a tumour patch
