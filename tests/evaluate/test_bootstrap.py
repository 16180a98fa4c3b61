import time

import numpy as np
import pytest

from wsc_ray.evaluate import bootstrap as module
from wsc_ray.evaluate.bootstrap import bootstrap, patient_weights
from wsc_ray.evaluate.ensemble import MemberPredictions, draw_members
from wsc_ray.evaluate.metrics import measure

from .test_metrics import NAMES, predictions


def members(probabilities: np.ndarray, folds: list[str | None] | None = None) -> MemberPredictions:
    """An ensemble from (M, n, C)."""
    count = len(probabilities)
    names = tuple(f"m{i}" for i in range(count))
    return MemberPredictions(names, tuple(range(count)), tuple(folds or [None] * count), probabilities)


def mean(values: np.ndarray):
    return lambda draw: {"mean": draw.weights @ values / draw.weights.sum(axis=1)}


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
        lambda draw: measure(labels, probabilities, NAMES, draw.weights),
        list("abcd"),
        samples=1000,
        confidence=0.95,
        seed=0,
    )
    assert 250 < found["auroc"].left_out < 400  # (3/4)^4 of samples lack the positive patient
    assert found["accuracy"].left_out == 0
    assert 0 <= found["auroc"].low <= found["auroc"].high <= 1
    one_class = bootstrap(
        lambda draw: measure(labels[:3], probabilities[:3], NAMES, draw.weights),
        list("abc"),
        samples=100,
        confidence=0.95,
        seed=0,
    )
    assert one_class["auroc"].left_out == 100
    assert np.isnan(one_class["auroc"].low)


def test_two_thousand_samples_of_a_thousand_slides_take_seconds() -> None:
    labels, probabilities = predictions(0, count=1000)
    started = time.process_time()
    bootstrap(
        lambda draw: measure(labels, probabilities, NAMES, draw.weights),
        [f"p{i // 2}" for i in range(1000)],
        samples=2000,
        confidence=0.95,
        seed=0,
    )
    assert time.process_time() - started < 10


def test_draws_of_members_give_their_mean_its_variance() -> None:
    """The variance of a mean of five, s^2 / 5, which five draws out of five would miss by a fifth."""
    values = np.array([0.1, 0.4, 0.5, 0.9, 0.6])
    times = draw_members(members(np.zeros((5, 1, 2))), range(20_000), seed=0)
    means = times @ values / times.sum(axis=1)
    assert set(times.sum(axis=1)) == {4}
    assert means.mean() == pytest.approx(values.mean(), abs=0.003)
    assert means.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)


def test_members_of_each_fold_are_drawn_apart_and_one_alone_is_always_there() -> None:
    folds = ["a", "a", "a", "b", "b", "b", "c"]
    times = draw_members(members(np.zeros((7, 1, 2)), folds), range(3000), seed=0)
    assert set(times[:, :3].sum(axis=1)) == set(times[:, 3:6].sum(axis=1)) == {2}
    assert set(times[:, 6]) == {1}
    assert abs(np.corrcoef(times[:, 0], times[:, 3])[0, 1]) < 0.05
    assert (draw_members(members(np.zeros((7, 1, 2)), folds), range(10, 20), seed=0) == times[10:20]).all()


def test_an_ensemble_is_the_mean_of_those_who_never_saw_the_slide() -> None:
    probabilities = np.array([[[0.2, 0.8], [0.4, 0.6]], [[0.6, 0.4], [0.1, 0.9]]])
    probabilities[1, 0] = np.nan
    ensemble = members(probabilities)
    np.testing.assert_allclose(ensemble.ensemble(), [[0.2, 0.8], [0.25, 0.75]])
    drawn = ensemble.ensemble(np.array([[1.0, 3.0], [1.0, 1.0]]))
    np.testing.assert_allclose(drawn, [[[0.2, 0.8], [0.175, 0.825]], [[0.2, 0.8], [0.25, 0.75]]])


def test_seeds_widen_an_interval_and_what_drawing_them_costs_is_taken_out() -> None:
    """Members that differ: the interval is wider than of their mean taken as one fit, and is not shifted down."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    score = 0.5 + 0.1 * (labels - 0.5) + rng.normal(0, 0.1, 200) + rng.normal(0, 0.25, (5, 200))
    score = np.clip(score, 0.01, 0.99)
    several = members(np.stack([1 - score, score], axis=-1))
    one = members(several.ensemble()[None])
    patients = [f"p{i}" for i in range(200)]

    def interval(ensemble: MemberPredictions):
        def statistic(draw):
            return {"auroc": measure(labels, draw.probabilities(ensemble), NAMES, draw.weights)["auroc"]}

        return bootstrap(statistic, patients, [ensemble], samples=1000, confidence=0.95, seed=0)["auroc"]

    both, alone = interval(several), interval(one)
    assert both.high - both.low > 1.1 * (alone.high - alone.low)
    assert (both.high + both.low) / 2 == pytest.approx((alone.high + alone.low) / 2, abs=0.01)
