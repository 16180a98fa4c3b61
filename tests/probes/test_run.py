from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.test_run import change
from tests.mil.cohort import write_store
from wsc_ray.commands import evaluate, probe
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.evaluate.ledger import LEDGER, read_ledger
from wsc_ray.features.store import SlideFeatures, read_slide, read_slides, slide_path, write_slide, write_slides
from wsc_ray.files import read_json
from wsc_ray.probes.describe import describe_probes
from wsc_ray.probes.run import _sides
from wsc_ray.recipe.sections import Recipe
from wsc_ray.storage import as_path

FAST = ["evaluate.bootstrap=100"]


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"features": write_store(tmp_path / "features", shift=3.0), "out": tmp_path / "out"}


def test_what_a_probe_leaves(places: dict[str, Path]) -> None:
    summary = probe(**places, overrides=FAST)
    assert summary == read_json(places["out"] / "summary.json")
    assert list(summary["probes"]) == ["slides", "patches"]
    for level, count in (("slides", 24), ("patches", None)):
        for name in ("neighbours", "linear"):
            found = summary["probes"][level][name]
            assert found["samples"] == (count or found["samples"])
            assert found["patients"] == 12
            auroc = found["metrics"]["auroc"]
            assert auroc["low"] <= auroc["value"] <= auroc["high"]
    assert summary["probes"]["patches"]["linear"]["metrics"]["auroc"]["value"] > 0.9
    assert (summary["site"], summary["ledger"]) == (None, None)
    assert not (places["out"] / LEDGER).exists()
    text = describe_probes(summary)
    assert "slides, neighbours" in text
    assert "24 slides of 12 patients" in text
    again = probe(**places, overrides=FAST)
    assert again["probes"] == summary["probes"]


def test_test_slides_are_not_looked_at_unless_asked(places: dict[str, Path]) -> None:
    """They change nothing, even where they cannot be read; --test measures them, and the ledger says so."""
    summary = probe(**places, overrides=FAST)
    kept = slide_path(places["features"], "test-003").read_bytes()
    slide_path(places["features"], "test-003").unlink()
    assert probe(**places, overrides=FAST)["probes"] == summary["probes"]
    slide_path(places["features"], "test-003").write_bytes(kept)
    tested = probe(**places, test=True, overrides=FAST)
    assert tested["probes"]["slides"]["linear"]["samples"] == 16
    assert tested["ledger"]["opening"] == 1
    assert [line["command"] for line in read_ledger(as_path(places["out"]))] == ["probe"]
    assert probe(**places, test=True, overrides=FAST)["ledger"]["repeat"]
    assert "these slides have been opened once" in describe_probes(tested)


def test_probes_of_two_encoders_are_compared(places: dict[str, Path], tmp_path: Path) -> None:
    probe(**places, overrides=FAST)
    other = write_store(tmp_path / "worse", shift=0.0, seed=1)
    probe(features=other, out=tmp_path / "other", overrides=FAST)
    results = [places["out"] / "linear.csv", tmp_path / "other" / "linear.csv"]
    summary = evaluate(results=results, compare=True, overrides=FAST)
    assert (summary["slides"], summary["patients"]) == (24, 12)


def test_a_cohort_with_sites_says_how_much_of_them_is_in_the_features(places: dict[str, Path], tmp_path: Path) -> None:
    slides = read_slides(places["features"]).slides
    sites = [["north", "south"][int(patient[-1]) // 2 % 2] for patient in slides["patient_id"].to_pylist()]
    write_slides(places["features"], slides.append_column("site", pa.array(sites)))
    summary = probe(**places, overrides=FAST)
    assert summary["site"]["sites"] == 2
    assert summary["site"]["chance"] == 0.5
    assert 0 <= summary["site"]["robustness_index"] <= 1
    assert "robustness index" in describe_probes(summary)
    table = tmp_path / "sites.csv"
    rows = [
        f"{slide},{'east' if i % 2 else 'west'}" for i, slide in enumerate(slides["patient_id"].unique().to_pylist())
    ]
    table.write_text("\n".join(["patient_id,site", *rows]))
    other = probe(**places, overrides=[*FAST, f"data.cohort={table}"])
    assert other["site"]["site_balanced_accuracy"] != summary["site"]["site_balanced_accuracy"]


def test_test_slides_of_one_patient_have_no_intervals(places: dict[str, Path]) -> None:
    change(places["features"], "patient_id", lambda r: "only" if r["split"] == "test" else r["patient_id"])
    with pytest.raises(DataError, match="all slides to measure on are of patient only"):
        probe(**places, test=True, overrides=FAST)
    assert not places["out"].exists()


@pytest.mark.parametrize("known", [(), ("test-000",)])
def test_patches_of_too_few_known_labels_are_left_out(places: dict[str, Path], known: tuple[str, ...]) -> None:
    """Labels of patches may be known in training slides alone."""
    for number in range(16):
        slide = read_slide(places["features"], f"test-{number:03d}")
        if slide.slide_id not in known:
            unknown = replace(slide, patch_label=np.full(len(slide.coords), -1, np.int8))
            write_slide(places["features"], unknown, attributes={}, coords_attributes={})
    assert list(probe(**places, test=True, overrides=FAST)["probes"]) == ["slides"]


def test_with_folds_all_slides_take_part(places: dict[str, Path]) -> None:
    slides = read_slides(places["features"]).slides
    folds = [None if i < 4 else str(i % 2) for i in range(slides.num_rows)]
    learn, measured = _sides(slides.append_column("fold", pa.array(folds)), places["features"], Recipe(), False)
    assert (learn.num_rows, measured) == (slides.num_rows - 4, None)
    with pytest.raises(RecipeError, match="there is no test split"):
        _sides(slides.append_column("fold", pa.array(folds)), places["features"], Recipe(), True)


def test_slides_without_patches_are_named(places: dict[str, Path]) -> None:
    empty = SlideFeatures("train-005", np.zeros((0, 8), np.float32), np.zeros((0, 2), np.int64))
    write_slide(places["features"], empty, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda r: 0 if r["slide_id"] == "train-005" else r["patches"])
    summary = probe(**places, overrides=FAST)
    assert summary["probes"]["slides"]["linear"]["samples"] == 23
    assert any("train-005" in note for note in summary["notes"])


def few(places: dict[str, Path]) -> None:
    change(
        places["features"],
        "patient_id",
        lambda r: "only" if r["label"] == "positive" and r["split"] == "train" else r["patient_id"],
    )


def one_label(places: dict[str, Path]) -> None:
    change(places["features"], "label", lambda r: "negative")


def not_finite(places: dict[str, Path]) -> None:
    slide = SlideFeatures("train-003", np.full((2, 8), np.nan, np.float32), np.zeros((2, 2), np.int64))
    write_slide(places["features"], slide, attributes={}, coords_attributes={})
    change(places["features"], "patches", lambda r: 2 if r["slide_id"] == "train-003" else r["patches"])


def no_train(places: dict[str, Path]) -> None:
    change(places["features"], "split", lambda r: "test")


def taken(places: dict[str, Path]) -> None:
    places["out"] = places["features"]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (few, DataError, r"slides of label positive are of 1 patients"),
        (one_label, DataError, r"slides of one label only"),
        (not_finite, DataError, r"train-003 are not all finite"),
        (no_train, DataError, r"no slide in .* is in split `train` or `val`"),
        (taken, RunFolderError, r"is taken"),
    ],
)
def test_what_a_user_can_do_wrong_writes_nothing(places: dict[str, Path], spoil, error: type, message: str) -> None:
    out = places["out"]
    spoil(places)
    with pytest.raises(error, match=message):
        probe(**places, overrides=FAST)
    assert not out.exists()


def test_a_dry_run_touches_nothing(places: dict[str, Path]) -> None:
    assert probe(**places, dry_run=True)["slides"] == 24
    assert not places["out"].exists()
