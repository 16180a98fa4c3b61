"""Ensembles, folds and calibration: which member predicts which slide, and what is chosen on validation slides."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from wsc_ray.commands import evaluate
from wsc_ray.errors import DataError
from wsc_ray.evaluate.assess import Result, assess
from wsc_ray.evaluate.describe import describe
from wsc_ray.evaluate.inputs import fold_of, measured_slides, predict_members
from wsc_ray.features.store import read_slides
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.fit import fit_head, predict
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings as Setting
from wsc_ray.mil.inputs import fitting_slides
from wsc_ray.recipe.sections import Recipe

from .test_run import CLASSES, FAST, change, made, places, tracked

__all__ = ["made", "places", "tracked"]


def add_members(places: dict[str, Path], folds: list[str | None] | None = None, **extra: Any) -> None:
    """Give the head's folder three members, each fitted with another seed."""
    train = slides_of(read_slides(places["features"]).slides, "train")
    bags = load_bags(places["features"], train, CLASSES)
    setting = Setting(lr=5e-3, weight_decay=1e-4, dropout=0.0, hidden=8, attention=8, gated=True)
    for seed in range(3):
        fit = fit_head(bags, bags, setting, classes=2, epochs=3, patience=3, bags_per_step=4, seed=seed)
        fold = {} if folds is None else {"fold": folds[seed]}
        folder = places["head"] / "members" / f"seed-{seed}"
        save_head(folder, fit.head, setting, CLASSES, {"seed": seed, **fold, **extra})


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_an_ensemble_is_measured_with_its_members(places: dict[str, Path]) -> None:
    alone = evaluate(**places, overrides=FAST)
    assert any("one fit only" in note for note in alone["notes"])
    add_members(places)
    summary = evaluate(**places, overrides=FAST)
    members = summary["members"]
    assert [each["seed"] for each in members["each"]] == [0, 1, 2]
    values = [each["auroc"] for each in members["each"]]
    assert members["scatter"]["auroc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert (summary["folds"], any("one fit only" in note for note in summary["notes"])) == (None, False)
    rows, each = read_table(places["out"] / "predictions.csv"), read_table(places["out"] / "member_predictions.csv")
    assert len(each) == 3 * len(rows)
    for row in rows:
        own = [float(one["prob_positive"]) for one in each if one["slide_id"] == row["slide_id"]]
        assert float(row["prob_positive"]) == pytest.approx(np.mean(own), abs=1e-15)
    assert "the AUROC of each of the 3 members alone is" in describe(summary)
    assert "and of 3 members" in describe(summary)


def test_with_folds_a_slide_is_predicted_by_members_that_never_saw_it(places: dict[str, Path]) -> None:
    add_members(places, ["a", "b", "b"])
    members, head = load_members(places["head"]), places["head"]
    slides = slides_of(read_slides(places["features"]).slides, "test")
    bags = load_bags(places["features"], slides, CLASSES)
    folds = {slide: "a" if i < 4 else "b" for i, slide in enumerate(bags.slide_ids)}
    table = slides.append_column("fold", pa.array(folds.values()))
    assert fold_of(table) == folds
    assert measured_slides(table, members, places["features"], Recipe()).equals(table)
    found, attention = predict_members(members, bags, folds, head)
    assert found.unseen.sum(axis=1).tolist() == [4, 12, 12]
    whole = [predict(member.head, bags) for member in members]
    expected = [each[0].double().softmax(1).numpy() for each in whole]
    np.testing.assert_allclose(found.ensemble()[:4], expected[0][:4])
    np.testing.assert_allclose(found.ensemble()[4:], (expected[1][4:] + expected[2][4:]) / 2)
    last = slice(int(bags.offsets[15]), int(bags.offsets[16]))
    np.testing.assert_allclose(attention[last], (whole[1][1][last] + whole[2][1][last]) / 2, rtol=1e-5)
    measured = assess(Result(bags, CLASSES, found, attention), Recipe(evaluate={"bootstrap": 100}))
    assert {name: fold["slides"] for name, fold in measured["folds"].items()} == {"a": 4, "b": 12}
    with pytest.raises(DataError, match=r"no member in .* was held out from fold c of slide test-015"):
        predict_members(members, bags, {**folds, "test-015": "c"}, head)
    with pytest.raises(DataError, match=r"name their column with data\.fold"):
        measured_slides(slides, members, places["features"], Recipe())


def test_threshold_and_temperature_are_of_validation_slides_alone(places: dict[str, Path]) -> None:
    """They are the same whatever the test slides are labelled."""
    own = [f"train-{i:03d}" for i in range(12)]
    add_members(places, val_slides=own)
    summary = evaluate(**places, overrides=FAST)
    (chosen,) = summary["calibrated"]["chosen"]
    assert chosen["slides"] == 12
    assert chosen["fold"] is None
    rows = read_table(places["out"] / "predictions.csv")
    called = [float(row["prob_positive"]) >= chosen["threshold"] for row in rows]
    right = np.mean([(row["label"] == "positive") == each for row, each in zip(rows, called, strict=True)])
    assert summary["calibrated"]["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert f"temperature {chosen['temperature']:.2f}" in describe(summary)
    flip = {"negative": "positive", "positive": "negative"}
    change(places["features"], "label", lambda r: flip[r["label"]] if r["split"] == "test" else r["label"])
    assert evaluate(**places, overrides=FAST)["calibrated"]["chosen"] == [chosen]


def test_slides_that_a_member_was_chosen_with_are_not_measured(places: dict[str, Path]) -> None:
    """Other splits than `tune` had: what validated then is a test slide now."""
    add_members(places, val_slides=["train-000", "test-003"])
    with pytest.raises(DataError, match=r"slide test-003 is to be measured, and member seed-0 .* was chosen with it"):
        evaluate(**places, overrides=FAST)
    assert not places["out"].exists()


def test_a_head_that_says_nothing_of_its_validation_slides_is_not_calibrated(places: dict[str, Path]) -> None:
    summary = evaluate(**places, overrides=FAST)
    assert summary["calibrated"] is None
    assert any("the validation slides that the head was chosen on are not known" in note for note in summary["notes"])
    slides = read_slides(places["features"]).slides
    _, train, val = fitting_slides(slides, Recipe())
    digests = [load_bags(places["features"], table, CLASSES).digest()[:32] for table in (train, val)]
    (places["head"] / "identity.json").write_text(json.dumps({"command": "tune", "features": "".join(digests)}))
    (places["head"] / "summary.json").write_text("{}")
    assert evaluate(**places, overrides=FAST)["calibrated"]["chosen"][0]["slides"] == val.num_rows
