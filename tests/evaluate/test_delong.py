import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from tests.mil.cohort import FEW
from wsc_ray.evaluate.delong import delong, holm


def scores_of(seed: int, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and two related scores (2, n) with ties."""
    rng = np.random.default_rng(seed)
    positive = np.concatenate([[True, True, False, False], rng.random(count - 4) < 0.4])
    common = rng.normal(size=count) + positive
    return positive, np.round(common + rng.normal(0, 0.5, (2, count)), 1)


def as_published(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The covariance as DeLong et al. write it: every pair of a positive and a negative."""
    wins = [(s[positive][:, None] > s[~positive]) + 0.5 * (s[positive][:, None] == s[~positive]) for s in scores]
    of_positive, of_negative = np.array([w.mean(axis=1) for w in wins]), np.array([w.mean(axis=0) for w in wins])
    return np.cov(of_positive) / positive.sum() + np.cov(of_negative) / (~positive).sum()


@FEW
@given(st.integers(0, 10**6))
def test_a_slide_a_patient_is_delongs_own_covariance(seed: int) -> None:
    positive, scores = scores_of(seed)
    found = delong(positive, scores, [f"p{i}" for i in range(len(positive))])
    np.testing.assert_allclose(found.values, [roc_auc_score(positive, s) for s in scores])
    np.testing.assert_allclose(found.covariance, as_published(positive, scores), atol=1e-12)
    c = found.covariance
    variance = c[0, 0] + c[1, 1] - 2 * c[0, 1]
    if variance > 1e-12:
        z = (found.values[0] - found.values[1]) / np.sqrt(variance)
        assert found.p_value(0, 1) == pytest.approx(2 * (1 - norm.cdf(abs(z))))


def test_copies_of_slides_add_no_evidence() -> None:
    """Three like slides a patient say what one says; taken for independent they would say three times as much."""
    positive, scores = scores_of(0)
    alone = delong(positive, scores, [f"p{i}" for i in range(30)])
    thrice = delong(np.repeat(positive, 3), np.repeat(scores, 3, axis=1), [f"p{i // 3}" for i in range(90)])
    np.testing.assert_allclose(thrice.covariance, alone.covariance)
    assert thrice.p_value(0, 1) == pytest.approx(alone.p_value(0, 1))


def test_the_variance_is_that_of_repeated_cohorts_also_where_a_patient_has_slides_of_both_classes() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(50), 4).astype(str)
    positive = np.tile([True, False, True, False], 50)
    values, variances = [], []
    for _ in range(600):
        shared = np.repeat(rng.normal(size=(2, 50)), 4, axis=1)
        found = delong(positive, shared + rng.normal(size=(2, 200)) + positive, patients)
        values.append(found.values)
        variances.append(np.diag(found.covariance))
    assert np.mean(variances) == pytest.approx(np.mean(np.var(values, axis=0)), rel=0.1)


def test_what_cannot_be_said_is_not_a_number() -> None:
    positive, scores = np.array([True, False, False]), np.array([[0.9, 0.1, 0.2], [0.1, 0.9, 0.3]])
    assert np.isnan(delong(positive, scores, list("abc")).p_value(0, 1))  # one positive patient
    assert np.isnan(delong(positive[1:], scores[:, 1:], list("bc")).values).all()
    assert delong(*scores_of(0), [str(i) for i in range(30)]).p_value(0, 0) == 1


def test_holm_is_the_published_step_down() -> None:
    """Holm 1979: sorted p times how many are left, never falling, never above 1."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1])
    assert holm([0.02]) == [0.02]
    adjusted = holm([0.01, float("nan")])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
