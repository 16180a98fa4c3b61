import time

import numpy as np
import pytest

from wsc_ray.evaluate import bootstrap as module
from wsc_ray.evaluate.bootstrap import bootstrap, patient_weights
from wsc_ray.evaluate.metrics import measure

from .test_metrics import NAMES, predictions


def mean(values: np.ndarray):
    return lambda w: {"mean": w @ values / w.sum(axis=1)}


def test_patients_are_drawn_with_all_their_slides() -> None:
    patients = ["b", "a", "b", "c", "a", "b"]
    weights = patient_weights(patients, range(500), seed=0)
    for slides in ([1, 4], [0, 2, 5]):
        assert (weights[:, slides] == weights[:, slides[:1]]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many patients as there are
    assert weights[:, [0, 1, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


def test_an_interval_widens_as_slides_share_patients() -> None:
    """Ten patients of ten like slides each say as much as ten slides, not as a hundred."""
    values = np.repeat(np.arange(10.0), 10)
    options = {"samples": 1000, "confidence": 0.95, "seed": 0}
    together = bootstrap(mean(values), [f"p{i // 10}" for i in range(100)], **options)["mean"]
    alone = bootstrap(mean(values), [f"p{i}" for i in range(100)], **options)["mean"]
    assert together.high - together.low == pytest.approx(10**0.5 * (alone.high - alone.low), rel=0.15)
    assert together.high - together.low == pytest.approx(2 * 1.96 * np.std(np.arange(10)) / 10**0.5, rel=0.15)


def test_it_depends_on_the_seed_and_not_on_how_many_samples_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(30)
    patients = [f"p{i // 2}" for i in range(30)]
    first = bootstrap(mean(values), patients, samples=200, confidence=0.9, seed=1)
    monkeypatch.setattr(module, "CELLS", 100)
    assert bootstrap(mean(values), patients, samples=200, confidence=0.9, seed=1)["mean"].low == pytest.approx(
        first["mean"].low
    )
    assert bootstrap(mean(values), patients, samples=200, confidence=0.9, seed=2) != first


def test_samples_without_a_class_are_left_out_and_counted() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]])
    found = bootstrap(
        lambda w: measure(labels, probabilities, NAMES, w), list("abcd"), samples=1000, confidence=0.95, seed=0
    )
    assert 250 < found["auroc"].left_out < 400  # (3/4)^4 of samples lack the positive patient
    assert found["accuracy"].left_out == 0
    assert 0 <= found["auroc"].low <= found["auroc"].high <= 1
    one_class = bootstrap(
        lambda w: measure(labels[:3], probabilities[:3], NAMES, w), list("abc"), samples=100, confidence=0.95, seed=0
    )
    assert one_class["auroc"].left_out == 100
    assert np.isnan(one_class["auroc"].low)


def test_two_thousand_samples_of_a_thousand_slides_take_seconds() -> None:
    labels, probabilities = predictions(0, count=1000)
    started = time.process_time()
    bootstrap(
        lambda w: measure(labels, probabilities, NAMES, w),
        [f"p{i // 2}" for i in range(1000)],
        samples=2000,
        confidence=0.95,
        seed=0,
    )
    assert time.process_time() - started < 10
