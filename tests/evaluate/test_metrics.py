import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.mil.cohort import FEW
from wsc_ray.evaluate.metrics import confusion, measure
from wsc_ray.mil.auroc import auroc

NAMES = ["negative", "positive"]


def predictions(seed: int, *, classes: int = 2, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,), every class among them, and probabilities (n, C) with ties, better than chance."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    raw = np.round(rng.random((count, classes)) + 0.5 * np.eye(classes)[labels], 1) + 0.1
    return labels, raw / raw.sum(axis=1, keepdims=True)


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
            "sensitivity": sk.recall_score(labels, predicted),
            "specificity": sk.recall_score(labels, predicted, pos_label=0),
            "accuracy": sk.accuracy_score(labels, predicted),
        }
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
