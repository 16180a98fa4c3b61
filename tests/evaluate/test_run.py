import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from tests.mil.cohort import write_store
from wsc_ray.commands import evaluate
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.evaluate.assess import Result, assess
from wsc_ray.evaluate.describe import describe
from wsc_ray.evaluate.inputs import predict_members
from wsc_ray.features.store import SlideFeatures, read_slides, slide_path, write_slide, write_slides
from wsc_ray.files import read_json, write_summary
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.fit import fit_head
from wsc_ray.mil.head import save_head
from wsc_ray.mil.heads.abmil import AttentionSettings as Setting
from wsc_ray.recipe.sections import Recipe

CLASSES = ["negative", "positive"]
FAST = ["evaluate.bootstrap=200"]
PLACES = {"features": "features", "head": "mil", "out": "evaluate"}


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


def write_head(features: Path, head: Path, classes: list[str] = CLASSES, **extra: Any) -> Path:
    bags = load_bags(features, slides_of(read_slides(features).slides, "train"), classes)
    setting = Setting(lr=5e-3, weight_decay=1e-4, dropout=0.0, hidden=8, attention=8, gated=True)
    options = {"classes": len(classes), "epochs": 6, "patience": 6, "bags_per_step": 4, "seed": 0}
    save_head(head, fit_head(bags, bags, setting, **options).head, setting, classes, extra)
    return head


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features and a head fitted to them, to copy."""
    folder = tmp_path_factory.mktemp("made")
    write_head(write_store(folder / "features", shift=1.0), folder / "mil")
    return folder


@pytest.fixture
def places(made: Path, tmp_path: Path) -> dict[str, Path]:
    """Features, a head, and where results go."""
    shutil.copytree(made, tmp_path / "run")
    return {name: tmp_path / "run" / folder for name, folder in PLACES.items()}


def change(features: Path, column: str, new) -> None:
    """Rewrite a column of `slides.parquet`, row by row."""
    table = read_slides(features).slides
    values = [new(row) for row in table.to_pylist()]
    index = table.column_names.index(column)
    write_slides(features, table.set_column(index, column, pa.array(values)))


def test_what_an_evaluation_leaves(places: dict[str, Path], mlflow_store: str) -> None:
    registered = {"name": "heads", "version": 3, "uri": "models:/heads/3"}
    write_summary(places["head"], "tune", {"registered": registered})
    summary = evaluate(**places, overrides=FAST)
    out = places["out"]
    assert summary == read_json(out / "summary.json")
    assert (summary["slides"], summary["patients"], summary["positive"]) == (16, 8, "positive")
    assert " ".join(summary["metrics"]) == (
        "balanced_accuracy auroc auprc brier ece f1 kappa sensitivity specificity accuracy"
    )
    for name, entry in summary["metrics"].items():
        assert entry["low"] <= entry["high"], name
        if name != "ece":  # whose draws lie above it: gaps of few slides do not cancel
            assert entry["low"] <= entry["value"] <= entry["high"], name
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slide_id"] for row in rows] == [f"test-{i:03d}" for i in range(16)]
    assert all(np.isclose(float(row["prob_negative"]) + float(row["prob_positive"]), 1, atol=1e-12) for row in rows)
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert summary["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert (out / "confusion.csv").read_text().splitlines() == [
        "label,negative,positive",
        *(f"{name},{','.join(map(str, row))}" for name, row in zip(CLASSES, summary["confusion"], strict=True)),
    ]
    assert sum(map(sum, summary["confusion"])) == 16
    attention = summary["attention"]
    assert attention["slides"] == 8
    assert attention["auroc"]["low"] <= attention["auroc"]["value"] <= attention["auroc"]["high"]
    run = MlflowClient(mlflow_store).get_run(summary["mlflow"]["run_id"])
    assert run.data.metrics["auroc"] == summary["metrics"]["auroc"]["value"]
    assert run.data.metrics["attention_auroc_low"] == attention["auroc"]["low"]
    assert run.data.tags["wsc_ray.model"] == "models:/heads/3"
    assert run.data.params["evaluate.bootstrap"] == str(summary["bootstrap"]["samples"])
    text = describe(summary)
    assert "16 slides of 8 patients, split test (positive: positive)" in text
    assert "balanced accuracy" in text


def test_the_same_call_again_writes_the_same_in_one_mlflow_run(places: dict[str, Path]) -> None:
    def without_time(summary: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in summary.items() if key not in ("seconds", "ledger", "opened_before")}

    first = evaluate(**places, overrides=FAST)
    predictions = (places["out"] / "predictions.csv").read_bytes()
    second = evaluate(**places, overrides=FAST)
    assert without_time(first) == without_time(second)
    assert (places["out"] / "predictions.csv").read_bytes() == predictions


def test_one_class_in_the_test_split_is_said_and_not_made_up(places: dict[str, Path]) -> None:
    change(
        places["features"],
        "split",
        lambda r: "other" if r["split"] == "test" and r["label"] == "negative" else r["split"],
    )
    summary = evaluate(**places, overrides=FAST)
    assert summary["metrics"]["auroc"] == {"value": None, "low": None, "high": None, "left_out": 200}
    assert summary["metrics"]["sensitivity"]["value"] is not None
    note = summary["notes"][0]
    assert note.startswith("no test slide is negative, so that balanced_accuracy, auroc, auprc, ")
    assert note.endswith("specificity are not defined")
    assert "are not defined" in describe(summary)
    json.loads((places["out"] / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_slides_without_patches_are_counted_and_named(places: dict[str, Path]) -> None:
    empty = SlideFeatures("test-005", np.zeros((0, 8), np.float32), np.zeros((0, 2), np.int64))
    write_slide(places["features"], empty, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda r: 0 if r["slide_id"] == "test-005" else r["patches"])
    summary = evaluate(**places, overrides=FAST)
    assert (summary["slides"], summary["slides_without_patches"]) == (15, 1)
    assert "test-005" in summary["notes"][0]


def test_more_than_two_classes_and_no_patch_labels(tmp_path: Path) -> None:
    classes = ["negative", "tumour A", "tumour (B)"]
    features = write_store(
        tmp_path / "features", labels=tuple(classes), slides={"train": 24, "test": 24}, patch_labels=False
    )
    head = write_head(features, tmp_path / "mil", classes)
    summary = evaluate(features=features, head=head, out=tmp_path / "out", overrides=FAST)
    assert summary["attention"] is None
    assert summary["positive"] is None
    assert "sensitivity_tumour (B)" in summary["metrics"]
    assert "tumour (B)" in describe(summary)


def test_a_run_folder_says_where_everything_is(places: dict[str, Path]) -> None:
    run = places["out"].parent
    (run / "run.json").write_text('{"format": 1}')
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 150}\n")
    summary = evaluate(run=run)
    assert {name: summary[name] for name in PLACES} == {name: str(path) for name, path in places.items()}
    assert summary["bootstrap"]["samples"] == 150
    assert (run / "evaluate" / "summary.json").is_file()


def test_a_dry_run_touches_nothing(places: dict[str, Path]) -> None:
    assert evaluate(**places, dry_run=True)["slides"] == 16
    assert not places["out"].exists()


def unlabelled(places: dict[str, Path]) -> None:
    change(places["features"], "label", lambda r: "mitosis" if r["slide_id"] == "test-001" else r["label"])


def leaked(places: dict[str, Path]) -> None:
    change(
        places["features"],
        "patient_id",
        lambda r: "train-patient-000" if r["slide_id"] == "test-001" else r["patient_id"],
    )


def no_test(places: dict[str, Path]) -> None:
    change(places["features"], "split", lambda r: "train")


def gone(places: dict[str, Path]) -> None:
    slide_path(places["features"], "test-007").unlink()


def narrower(places: dict[str, Path]) -> None:
    write_store(places["features"], width=7)


def other_encoder(places: dict[str, Path]) -> None:
    write_head(places["features"], places["head"], embed={"encoder": "abc", "size": 64})
    (places["features"] / "embed.json").write_text(json.dumps({"encoder": "def", "size": 64, "manifest": "m"}))


def one_patient(places: dict[str, Path]) -> None:
    change(places["features"], "patient_id", lambda r: "only" if r["split"] == "test" else r["patient_id"])


def not_finite(places: dict[str, Path]) -> None:
    slide = SlideFeatures("test-003", np.full((2, 8), np.nan, np.float32), np.zeros((2, 2), np.int64))
    write_slide(places["features"], slide, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda r: 2 if r["slide_id"] == "test-003" else r["patches"])


def mixed_width(places: dict[str, Path]) -> None:
    slide = SlideFeatures("test-003", np.zeros((2, 9), np.float32), np.zeros((2, 2), np.int64))
    write_slide(places["features"], slide, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda r: 2 if r["slide_id"] == "test-003" else r["patches"])


def taken(places: dict[str, Path]) -> None:
    places["out"] = places["head"]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (unlabelled, DataError, r"labelled mitosis, which is none of the head's classes"),
        (leaked, DataError, r"patient train-patient-000 has slides in test and in train"),
        (no_test, DataError, r"is in split `test` \(splits there: train\)"),
        (gone, DataError, r"test-007 are missing"),
        (narrower, DataError, r"have 7 dimensions and the head in .* was fitted to 8"),
        (other_encoder, DataError, r"by another encoder"),
        (one_patient, DataError, r"are of patient only; intervals over patients need two at least"),
        (not_finite, DataError, r"test-003 are not all finite numbers"),
        (mixed_width, DataError, r"test-003 have 9 dimensions and those of test-000 8"),
        (taken, RunFolderError, r"is taken"),
    ],
)
def test_what_a_user_can_do_wrong_writes_nothing(places: dict[str, Path], spoil, error: type, message: str) -> None:
    out = places["out"]
    spoil(places)
    with pytest.raises(error, match=message):
        evaluate(**places, overrides=FAST)
    assert not out.exists()


def test_missing_options_and_heads_are_said(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--head: missing"):
        evaluate(features=places["features"], out=places["out"])
    with pytest.raises(RunFolderError, match="holds no head"):
        evaluate(features=places["features"], head=tmp_path, out=places["out"])


def test_a_note_names_metrics_of_0_and_of_1_whose_intervals_have_no_width(places: dict[str, Path]) -> None:
    members = load_members(places["head"])
    bags = load_bags(places["features"], slides_of(read_slides(places["features"]).slides, "test"), CLASSES)
    found, attention = predict_members(members, bags, {}, places["head"])
    negative = np.zeros_like(found.probabilities)
    negative[..., 0] = 1
    result = Result(bags, CLASSES, replace(found, probabilities=negative), attention)
    notes = "\n".join(assess(result, Recipe(evaluate={"bootstrap": 100}))["notes"])
    assert "a metric of 1 is 1 in every draw" in notes  # specificity
    assert "a metric of 0 is 0 in every draw" in notes  # sensitivity


def test_an_order_gives_quadratic_kappa_and_says_what_is_severe(tmp_path: Path) -> None:
    classes = ["negative", "grade 1", "grade 2"]
    features = write_store(tmp_path / "features", labels=tuple(classes), slides={"train": 24, "test": 24})
    head = write_head(features, tmp_path / "mil", ["negative", "grade 1", "grade 2"])
    change(features, "label", lambda r: "grade 2" if r["slide_id"] == "test-002" else r["label"])
    places = {"features": features, "head": head, "out": tmp_path / "out"}
    summary = evaluate(**places, overrides=FAST)
    assert summary["per_patient"]["left_out"] == ["test-patient-001"]
    assert summary["per_patient"]["patients"] == 11
    ordered = evaluate(**places, overrides=[*FAST, "evaluate.order=[negative, grade 1, grade 2]"])
    assert ordered["per_patient"]["patients"] == 12
    assert "quadratic_kappa" in ordered["per_patient"]["metrics"]
    with pytest.raises(RecipeError, match=r"evaluate.order.*are not the head's classes"):
        evaluate(**places, overrides=[*FAST, "evaluate.order=[negative, positive]"])
