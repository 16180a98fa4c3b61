import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.mil.cohort import FEW
from wsc_ray.evaluate.assess import bounds
from wsc_ray.evaluate.describe import metric_name
from wsc_ray.evaluate.metrics import confusion, measure, reliability
from wsc_ray.mil.auroc import auroc

NAMES = ["negative", "positive"]


def predictions(seed: int, *, classes: int = 2, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,), every class among them, and probabilities (n, C) with ties, better than chance."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    raw = np.round(rng.random((count, classes)) + 0.5 * np.eye(classes)[labels], 1) + 0.1
    return labels, raw / raw.sum(axis=1, keepdims=True)


def binned_error(score: np.ndarray, hit: np.ndarray) -> float:
    """The expected calibration error as its paper writes it, a bin at a time."""
    error = 0.0
    for low, high in itertools.pairwise(np.arange(11) / 10):
        inside = (score >= low) & ((score < high) | (high == 1))
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - score[inside].mean())
    return error


@FEW
@given(st.integers(0, 10**6))
def test_two_classes_agree_with_sklearn(seed: int) -> None:
    labels, probabilities = predictions(seed)
    predicted = probabilities.argmax(axis=1)
    found = {name: value[0] for name, value in measure(labels, probabilities, NAMES).items()}
    assert found == pytest.approx(
        {
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "auroc": sk.roc_auc_score(labels, probabilities[:, 1]),
            "auprc": sk.average_precision_score(labels, probabilities[:, 1]),
            "brier": sk.brier_score_loss(labels, probabilities[:, 1]),
            "ece": binned_error(probabilities[:, 1], labels == 1),
            "f1": sk.f1_score(labels, predicted) if (labels + predicted).any() else np.nan,
            "kappa": sk.cohen_kappa_score(labels, predicted),
            "sensitivity": sk.recall_score(labels, predicted),
            "specificity": sk.recall_score(labels, predicted, pos_label=0),
            "accuracy": sk.accuracy_score(labels, predicted),
        },
        nan_ok=True,
    )
    assert np.array_equal(confusion(labels, predicted, 2, np.ones((1, 40)))[0], sk.confusion_matrix(labels, predicted))


@FEW
@given(st.integers(0, 10**6))
def test_three_classes_agree_with_sklearn(seed: int) -> None:
    labels, probabilities = predictions(seed, classes=3)
    predicted = probabilities.argmax(axis=1)
    found = {name: value[0] for name, value in measure(labels, probabilities, ["a", "b", "c"]).items()}
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert found["auprc"] == pytest.approx(
        sk.average_precision_score(np.eye(3)[labels], probabilities, average="macro")
    )
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, probabilities))
    assert found["ece"] == pytest.approx(binned_error(probabilities.max(axis=1), predicted == labels))
    assert found["kappa"] == pytest.approx(sk.cohen_kappa_score(labels, predicted))
    ordered = measure(labels, probabilities, ["a", "b", "c"], order=[1, 2, 0])
    assert "kappa" not in ordered
    assert ordered["quadratic_kappa"][0] == pytest.approx(
        sk.cohen_kappa_score(labels, predicted, labels=[1, 2, 0], weights="quadratic")
    )
    for c, name in enumerate("abc"):
        assert found[f"sensitivity_{name}"] == pytest.approx(sk.recall_score(labels == c, predicted == c))
        assert found[f"specificity_{name}"] == pytest.approx(sk.recall_score(labels != c, predicted != c))


@FEW
@given(st.integers(0, 10**6))
def test_a_weighting_is_a_sample_with_repeats(seed: int) -> None:
    labels, probabilities = predictions(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(labels)))
    weights[:, :2] = 1
    found = measure(labels, probabilities, NAMES, weights.astype(float))
    for i, times in enumerate(weights):
        rows = np.repeat(np.arange(len(labels)), times)
        alone = measure(labels[rows], probabilities[rows], NAMES)
        for name, values in found.items():
            assert values[i] == pytest.approx(alone[name][0]), name


def test_one_class_alone_leaves_undefined_what_needs_the_other() -> None:
    labels, probabilities = np.ones(4, int), np.array([[0.2, 0.8]] * 3 + [[0.9, 0.1]])
    with np.errstate(all="raise"):
        found = {name: value[0] for name, value in measure(labels, probabilities, NAMES).items()}
    assert np.isnan([found["auroc"], found["balanced_accuracy"], found["specificity"]]).all()
    assert found["sensitivity"] == found["accuracy"] == 0.75


def test_auroc_of_nothing_is_undefined() -> None:
    assert np.isnan(auroc(np.zeros(0, bool), np.zeros(0), np.ones((3, 0)))).tolist() == [True] * 3


@FEW
@given(st.integers(0, 10**6))
def test_predictions_of_each_weighting_are_measured_as_if_alone(seed: int) -> None:
    """Draws of members give each sample probabilities of its own."""
    labels, _ = predictions(seed, classes=3)
    each = np.stack([predictions(seed + i, classes=3)[1] for i in range(4)])
    weights = np.random.default_rng(seed).integers(0, 4, (4, len(labels))).astype(float)
    weights[:, :3] = 1
    found = measure(labels, each, list("abc"), weights, order=[2, 0, 1])
    for i, (probabilities, times) in enumerate(zip(each, weights, strict=True)):
        alone = measure(labels, probabilities, list("abc"), times[None], order=[2, 0, 1])
        for name, values in found.items():
            assert values[i] == pytest.approx(alone[name][0], nan_ok=True), name


def test_the_reliability_curve_says_how_often_a_probability_came_true() -> None:
    labels = np.array([0, 1, 1, 0, 1])
    positive = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    first, second, last = reliability(labels, np.stack([1 - positive, positive], axis=1))
    assert (first.low, first.slides, first.observed) == (0, 1, 0)
    assert (second.slides, second.predicted, second.observed) == (2, pytest.approx(0.15), 1)
    assert (last.high, last.slides, last.predicted, last.observed) == (1, 2, pytest.approx(0.975), 0.5)


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("slides quadratic_kappa", (-1, 1)),
        ("kappa", (-1, 1)),
        ("patients brier", (0, 2)),
        ("slides auroc", (0, 1)),
        ("slides sensitivity_kappa light chain", (0, 1)),
        ("specificity_brier", (0, 1)),
    ],
)
def test_a_class_that_is_called_like_a_metric_has_no_bounds_of_its_own(name: str, possible: tuple[int, int]) -> None:
    assert bounds(name, 3) == possible


def test_a_class_keeps_its_name_where_metrics_are_written_for_people() -> None:
    assert metric_name("sensitivity_grade_3") == "sensitivity grade_3"
    assert metric_name("sensitivity") == "sensitivity"
    assert metric_name("balanced_accuracy") == "balanced accuracy"
