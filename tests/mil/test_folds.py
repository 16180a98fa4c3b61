import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wsc_ray.errors import DataError
from wsc_ray.mil.folds import patient_split

from .cohort import FEW

slides = st.lists(st.tuples(st.integers(0, 11), st.sampled_from("abc")), min_size=1, max_size=40)


@FEW
@given(slides, st.floats(0.05, 0.95), st.integers(0, 2**31 - 1))
def test_no_patient_is_on_both_sides_and_every_label_is(
    rows: list[tuple[int, str]], fraction: float, seed: int
) -> None:
    patients, labels = [f"p{p}" for p, _ in rows], [label for _, label in rows]
    of_label = {label: {p for p, other in zip(patients, labels, strict=True) if other == label} for label in labels}
    try:
        val = patient_split(patients, labels, fraction=fraction, seed=seed)
    except DataError:
        # Two patients a label are enough, except where patients with several labels get in each other's way.
        mixed = len(set(patients)) < sum(map(len, of_label.values()))
        if mixed or min(map(len, of_label.values())) < 2:
            return
        raise
    inside = {p for p, v in zip(patients, val, strict=True) if v}
    outside = {p for p, v in zip(patients, val, strict=True) if not v}
    assert not inside & outside
    for side in (val, ~val):
        assert {label for label, v in zip(labels, side, strict=True) if v} == set(labels)


@FEW
@given(slides, st.randoms(use_true_random=False))
def test_the_order_of_slides_does_not_matter(rows: list[tuple[int, str]], random) -> None:
    def chosen(rows: list[tuple[int, str]]) -> set[int]:
        val = patient_split([str(p) for p, _ in rows], [label for _, label in rows], fraction=0.3, seed=0)
        return {p for (p, _), v in zip(rows, val, strict=True) if v}

    try:
        first = chosen(rows)
    except DataError:
        assume(False)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert chosen(shuffled) == first


def test_patients_of_each_label_are_shared_out_by_the_fraction() -> None:
    patients = [f"p{i // 2}" for i in range(200)]  # two slides each
    labels = ["negative" if i < 150 else "positive" for i in range(200)]
    val = patient_split(patients, labels, fraction=0.2, seed=5)
    assert val.sum() == 2 * (15 + 5)
    assert val[150:].sum() == 2 * 5


def test_patients_with_slides_of_both_labels() -> None:
    patients = [f"p{i}" for i in range(10) for _ in range(2)]
    val = patient_split(patients, ["negative", "positive"] * 10, fraction=0.3, seed=1)
    assert val.sum() == 6


def test_seeds_differ() -> None:
    patients, labels = [f"p{i}" for i in range(40)], ["a", "b"] * 20
    masks = {tuple(patient_split(patients, labels, fraction=0.25, seed=seed)) for seed in range(5)}
    assert len(masks) == 5
    assert all(np.sum(mask) == 10 for mask in masks)


def test_one_patient_of_a_label_is_too_few() -> None:
    with pytest.raises(DataError, match="label b has slides of one patient only"):
        patient_split(["p", "q", "r", "r"], ["a", "a", "b", "b"], fraction=0.5, seed=0)


def test_labels_that_no_split_can_share_out() -> None:
    with pytest.raises(DataError, match="no split of the training patients"):
        patient_split(["p", "p", "q", "q", "r", "r"], ["a", "b", "b", "c", "a", "c"], fraction=0.5, seed=0)
