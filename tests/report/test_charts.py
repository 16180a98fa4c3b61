"""Curves against scikit-learn and each other; every chart is one that Vega-Lite compiles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from sklearn.metrics import average_precision_score, roc_auc_score

from wsc_ray.evaluate.ensemble import MemberPredictions
from wsc_ray.evaluate.predictions import Predictions
from wsc_ray.report.charts import number, thinned
from wsc_ray.report.collect import collect
from wsc_ray.report.curves import GRID, bands
from wsc_ray.report.looks import Look
from wsc_ray.report.patch_map import Sample, map_charts, neighbour_share
from wsc_ray.report.places import find_results
from wsc_ray.report.predictive import curve_charts
from wsc_ray.report.run import make_report
from wsc_ray.report.slide_cards import attention_auroc
from wsc_ray.report.training import points


def predictions(labels: np.ndarray, scores: np.ndarray, members: int = 1) -> Predictions:
    slides = tuple(f"s{number}" for number in range(len(labels)))
    probabilities = np.stack([np.stack([1 - scores, scores], axis=1)] * members)
    ensemble = MemberPredictions(
        tuple(f"seed-{n}" for n in range(members)), tuple(range(members)), (None,) * members, probabilities
    )
    known = {slide: ("no", "yes")[label] for slide, label in zip(slides, labels, strict=True)}
    patients = {slide: f"p{number // 2}" for number, slide in enumerate(slides)}
    return Predictions("x", slides, known, patients, ("no", "yes"), ensemble, True)


@pytest.mark.parametrize("members", [1, 3])
def test_curves_have_the_areas_that_scikit_learn_measures(members: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = np.clip(0.5 + 0.2 * (labels - 0.5) + rng.normal(0, 0.2, 400), 0, 1)
    roc, precision = bands(predictions(labels, scores, members), confidence=0.95, draws=60)
    assert np.trapezoid(roc.value, GRID) == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    assert precision.value[1:].mean() == pytest.approx(average_precision_score(labels, scores), abs=0.02)
    assert (roc.low <= roc.high).all()
    inside = (roc.low <= roc.value + 1e-9) & (roc.value <= roc.high + 1e-9)
    assert inside.mean() > 0.9
    assert 0.05 < (roc.high - roc.low)[20:60].mean() < 0.3


def test_ties_are_one_threshold() -> None:
    roc, _ = bands(predictions(np.array([0, 1] * 10), np.full(20, 0.5)), confidence=0.95, draws=5)
    assert np.allclose(roc.value, GRID)  # a score that says nothing is the diagonal


def test_slides_of_one_label_have_no_curve(two_runs: list[Path]) -> None:
    one = predictions(np.ones(6, int), np.linspace(0, 1, 6))
    roc, precision = bands(one, confidence=0.95, draws=5)
    assert np.isnan([roc.value, precision.value]).all()
    facts = replace(collect(find_results(two_runs)[0]), predictions=one)
    assert curve_charts([facts]) == []


def test_long_curves_are_means_of_neighbouring_lines() -> None:
    lines = [{"step": step, "loss": float(step)} for step in range(1, 3001)]
    curve = points(lines, "loss")
    assert len(curve) == 300
    assert curve[0] == (10, 5.5)
    assert curve[-1][0] == 3000
    assert points([*lines[:3], {"step": 4, "loss": float("nan")}], "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_neighbours_share_what_features_follow() -> None:
    rng = np.random.default_rng(0)
    slides = np.repeat([f"s{n}" for n in range(20)], 10)
    site = np.where(np.arange(200) < 100, "a", "b")
    centre = np.where(site[:, None] == "a", [5.0, 0, 0], [0, 5.0, 0])
    sample = Sample(
        centre + rng.normal(0, 1, (200, 3)), {"slide": slides, "site": site, "label": rng.permutation(site)}
    )
    found, chance = neighbour_share(sample, "site")
    assert found > 0.95
    assert chance == pytest.approx(90 / 190)
    found, chance = neighbour_share(sample, "label")
    assert found == pytest.approx(0.5, abs=0.1)
    assert neighbour_share(Sample(sample.features, {"slide": slides, "site": np.full(200, "a")}), "site") is None
    charts = map_charts("x", sample)
    assert "99%" in charts[1].summary or "100%" in charts[1].summary
    assert len(charts[0].data["patches"]) == 200


def test_attention_finds_patches() -> None:
    attention = np.array([0.1, 0.4, 0.2, 0.3])

    def one(labels):
        return Look("s", np.zeros((4, 2), int), np.zeros((4, 2)), attention, np.array(labels, np.int8))

    assert attention_auroc(one([0, 1, 0, 1])) == 1
    assert attention_auroc(one([1, 0, -1, 0])) == 0
    assert attention_auroc(one([1, 1, -1, -1])) is None


def test_every_chart_compiles(two_runs: list[Path]) -> None:
    page, _ = make_report([collect(each) for each in find_results(two_runs)], 100)
    assert {chart.title for chart in page.charts} >= {"ROC", "Calibration", "Loss", "one: by slide", "<b>two: by site"}
    for chart in page.charts:
        assert chart.summary.endswith(".")
        vl_convert.vegalite_to_vega({**chart.spec, "datasets": dict(chart.data), "width": 300})
        assert chart.table is None or chart.table.rows
        for rows in chart.data.values():
            assert rows


def test_what_is_not_there_is_no_chart(two_runs: list[Path]) -> None:
    facts = replace(collect(find_results(two_runs)[0]), metrics=[], predictions=None, evaluated={})
    page, _ = make_report([facts], 100)
    assert {chart.title for chart in page.charts} == {
        f"one: by {name}" for name in ("slide", "site", "label", "patch label")
    }
    assert [name for name, reason in page.absent.items() if reason] == ["headline", "predictions", "training", "slides"]


def test_numbers() -> None:
    assert [number(each) for each in (0.1234, 1234567, None, float("nan"), 0.00001, 0)] == [
        "0.123",
        "1,234,567",
        "-",
        "-",
        "1e-05",
        "0.000",
    ]
    assert thinned(list(range(100)), 4) == [0, 33, 66, 99]
