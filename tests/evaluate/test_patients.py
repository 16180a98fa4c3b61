import numpy as np
import pytest

from wsc_ray.evaluate.bootstrap import patient_weights
from wsc_ray.evaluate.patients import by_patient


def test_a_patient_is_the_mean_of_the_slides() -> None:
    patients = by_patient(["b", "a", "b"], np.array([1, 0, 1]), 2)
    assert patients.names == ("a", "b")
    assert patients.labels.tolist() == [0, 1]
    probabilities = np.array([[0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    np.testing.assert_allclose(patients.mean(probabilities), [[0.7, 0.3], [0.4, 0.6]])
    np.testing.assert_allclose(
        patients.mean(np.stack([probabilities, 1 - probabilities])),
        [[[0.7, 0.3], [0.4, 0.6]], [[0.3, 0.7], [0.6, 0.4]]],
    )


def test_patients_are_drawn_with_their_slides() -> None:
    names = ["b", "a", "b", "c"]
    weights = patient_weights(names, range(5), seed=0)
    drawn = by_patient(names, np.array([1, 0, 1, 0]), 2).weights(weights)
    np.testing.assert_array_equal(drawn, weights[:, [1, 0, 3]])
    assert (drawn.sum(axis=1) == 3).all()


@pytest.mark.parametrize(("classes", "order", "label"), [(2, None, 1), (3, [1, 0, 2], 0), (3, [0, 1, 2], 1)])
def test_of_slides_that_differ_the_most_severe_counts(classes: int, order: list[int] | None, label: int) -> None:
    patients = by_patient(["a", "a", "b"], np.array([0, 1, 1]), classes, order)
    assert patients.labels.tolist() == [label, 1]
    assert (patients.differing, patients.left_out) == (1, ())


def test_without_an_order_patients_whose_slides_differ_are_left_out() -> None:
    patients = by_patient(["a", "a", "b"], np.array([0, 1, 2]), 3)
    assert (patients.names, patients.left_out) == (("b",), ("a",))
    assert len(by_patient(["a", "a"], np.array([0, 1]), 3)) == 0
