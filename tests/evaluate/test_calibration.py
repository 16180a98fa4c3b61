import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss, roc_curve

from tests.mil.cohort import FEW
from wsc_ray.evaluate.calibration import best_temperature, calibrate, choose, tempered, youden_threshold

from .test_bootstrap import members
from .test_metrics import predictions


@FEW
@given(st.integers(0, 10**6))
def test_the_threshold_has_the_largest_youden_index(seed: int) -> None:
    labels, probabilities = predictions(seed)
    scores = probabilities[:, 1]
    false, true, _ = roc_curve(labels, scores)
    called = scores >= youden_threshold(labels == 1, scores)
    assert called[labels == 1].mean() - called[labels == 0].mean() == pytest.approx((true - false).max())


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    assert youden_threshold(np.array([False, True]), np.array([0.1, 0.8])) == pytest.approx(0.45)
    # 0.2 | 0.3 and 0.85 | 0.9 both gain a half: positives at 0.3 and 0.9, negatives at 0.2 and 0.8.
    assert youden_threshold(np.array([False, True, False, True]), np.array([0.2, 0.3, 0.8, 0.9])) == pytest.approx(0.25)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("true", [0.5, 3.0])
def test_the_temperature_undoes_overconfidence(classes: int, true: float) -> None:
    """Labels are drawn from softmax(z / T): over many slides, T is what is found, and no other is better."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, classes))
    labels = (softmax(logits / true, axis=1).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    probabilities = softmax(logits, axis=1)
    found = best_temperature(labels, probabilities)
    assert found == pytest.approx(true, rel=0.05)

    def loss(temperature: float) -> float:
        return log_loss(labels, tempered(probabilities, np.full(20_000, temperature)))

    assert loss(found) <= min(loss(found * 1.01), loss(found / 1.01), loss(1.0))
    np.testing.assert_allclose(tempered(probabilities, np.full(20_000, 2.0)), softmax(logits / 2, axis=1), atol=1e-12)


def test_validation_slides_without_a_class_choose_nothing() -> None:
    assert choose(None, np.zeros(3, int), np.full((3, 2), 0.5)) is None
    test = members(np.full((1, 2, 2), 0.5))
    assert calibrate(test, members(np.full((1, 3, 2), np.nan)), np.array([0, 1, 1])) is None


def test_each_fold_is_calibrated_on_its_own_members_validation_slides() -> None:
    nan = np.nan
    test = members(np.array([[[0.5, 0.5], [nan, nan]], [[nan, nan], [0.5, 0.5]]]), ["a", "b"])
    positive = np.array([[0.1, 0.5, nan, nan], [nan, nan, 0.6, 0.9]])
    validation = members(np.stack([1 - positive, positive], axis=-1), ["a", "b"])
    found = calibrate(test, validation, np.array([0, 1, 0, 1]))
    assert found is not None
    assert [(each.fold, each.slides) for each in found.choices] == [("a", 2), ("b", 2)]
    np.testing.assert_allclose(found.thresholds, [0.3, 0.75])
    assert found.predicted(test.ensemble()).tolist() == [1, 0]
    assert found.temperatures[0] != found.temperatures[1]
