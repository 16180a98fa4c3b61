import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsc_ray.errors import DataError
from wsc_ray.features.store import SlideFeatures, read_slide, read_slides, slide_path, write_slide, write_slides
from wsc_ray.mil.bags import class_order, load_bags, slides_of

from .cohort import FEW, make_bags, write_store

CLASSES = ["negative", "positive"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "features", slides={"train": 6, "test": 4})


def rewrite(store: Path, slide: str, features: np.ndarray) -> None:
    coords = np.zeros((len(features), 2), np.int64)
    write_slide(store, SlideFeatures(slide, features, coords), attributes={}, coords_attributes={})


def test_bags_are_the_slides_of_the_split_in_order(store: Path) -> None:
    bags = load_bags(store, slides_of(read_slides(store).slides, "train"), CLASSES)
    assert bags.slide_ids == tuple(f"train-{i:03d}" for i in range(6))
    assert bags.patient_ids[:3] == ("train-patient-000", "train-patient-000", "train-patient-001")
    assert bags.labels.tolist() == [0, 0, 1, 1, 0, 0]
    for i, slide in enumerate(bags.slide_ids):
        rows = slice(bags.offsets[i], bags.offsets[i + 1])
        read = read_slide(store, slide)
        assert np.array_equal(bags.features[rows].numpy(), read.features)
        assert np.array_equal(bags.coords[rows].numpy(), read.coords)


def test_patch_labels_come_only_when_asked_for(store: Path) -> None:
    slides = slides_of(read_slides(store).slides, "test")
    assert load_bags(store, slides, CLASSES).patch_labels is None
    labels = load_bags(store, slides, CLASSES, patch_labels=True).patch_labels
    assert labels.sum() == sum(read_slide(store, slide).patch_label.sum() for slide in slides["slide_id"].to_pylist())


def test_a_missing_file_is_named(store: Path) -> None:
    slide_path(store, "train-003").unlink()
    with pytest.raises(DataError, match=r"train-003 are missing.*wsc-ray embed"):
        load_bags(store, slides_of(read_slides(store).slides, "train"), CLASSES)


def test_a_slide_without_patches_is_left_out_and_named(store: Path) -> None:
    table = read_slides(store).slides
    rewrite(store, "train-002", np.zeros((0, 8), np.float32))
    patches = [
        0 if slide == "train-002" else n
        for slide, n in zip(table["slide_id"].to_pylist(), table["patches"].to_pylist(), strict=True)
    ]
    write_slides(store, table.set_column(4, "patches", pa.array(patches, pa.int64())))
    bags = load_bags(store, slides_of(read_slides(store).slides, "train"), CLASSES)
    assert bags.empty == ("train-002",)
    assert len(bags) == 5
    assert (bags.lengths > 0).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda n: np.full((n, 8), np.nan, np.float32), "not all finite"),
        (lambda n: np.zeros((n, 7), np.float32), "7 dimensions and those of train-000 8"),
        (lambda n: np.zeros((n + 1, 8), np.float32), "slides.parquet says"),
    ],
)
def test_features_that_do_not_fit_are_refused(store: Path, features, message: str) -> None:
    rewrite(store, "train-004", features(len(read_slide(store, "train-004").features)))
    with pytest.raises(DataError, match=rf"train-004.*{message}"):
        load_bags(store, slides_of(read_slides(store).slides, "train"), CLASSES)


def test_a_label_that_is_no_class_is_refused(store: Path) -> None:
    with pytest.raises(DataError, match=r"labelled positive, which is none of .*\(negative, tumour\)"):
        load_bags(store, slides_of(read_slides(store).slides, "train"), ["negative", "tumour"])


def test_pure_labels_come_first() -> None:
    assert class_order(["tumour", "normal", "benign"], ["normal"]) == ["normal", "benign", "tumour"]
    assert class_order(["a", "b", "c"], ["c", "b"]) == ["b", "c", "a"]
    with pytest.raises(DataError, match="one label only"):
        class_order(["a", "a"], ["a"])
    with pytest.raises(DataError, match=r"data.pure \(negative\) is none"):
        class_order(["a", "b"], ["negative"])


@FEW
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_select_takes_whole_bags(lengths: list[int], data: st.DataObject) -> None:
    bags = make_bags(lengths)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    some = bags.select(chosen)
    parts = [bags.features[bags.offsets[i] : bags.offsets[i + 1]] for i in chosen]
    assert torch.equal(some.features, torch.cat([bags.features[:0], *parts]))
    assert some.lengths.tolist() == [lengths[i] for i in chosen]
    assert some.slide_ids == tuple(f"s{i}" for i in chosen)
    assert some.labels.tolist() == [i % 2 for i in chosen]


def test_pickling_shares_the_features_instead_of_copying_them() -> None:
    bags = make_bags([3, 1, 4])
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(bags, protocol=5, buffer_callback=buffers.append)
    back = pickle.loads(data, buffers=buffers)  # noqa: S301
    assert torch.equal(back.features, bags.features)
    assert back.features.data_ptr() == bags.features.data_ptr()
    assert back.slide_ids == bags.slide_ids


def test_digest_sees_features_labels_and_ids() -> None:
    bags = make_bags([3, 1, 4])
    other = make_bags([3, 1, 4])
    assert bags.digest() == other.digest()
    other.features[0, 0] += 1e-3
    assert bags.digest() != other.digest()
    assert bags.digest() != bags.select([1, 0, 2]).digest()
