"""`predict --features`: what `evaluate` says of the same slides, without labels, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from tests.evaluate.test_run import CLASSES
from tests.mil.cohort import write_store
from tests.predict.conftest import EMBED, MEMBERS, rows_of, there
from wsc_ray import checksums
from wsc_ray.attention.file import read_attention
from wsc_ray.commands import evaluate, predict
from wsc_ray.features.store import SlideFeatures, read_slides, slide_path, write_slide, write_slides
from wsc_ray.files import read_json, write_json
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.fit import predict as predict_bags
from wsc_ray.mil.mlflow_registry import predict_files
from wsc_ray.predict.table import Prediction, entropy, row_of


def without_labels(features: Path) -> None:
    """Leave of the table of slides who they are, and nothing else."""
    table = read_slides(features).slides
    write_slides(features, table.select(["slide_id", "patient_id", "patches"]))


def test_probabilities_are_those_of_evaluate_and_of_mlflows_model(places, tmp_path):
    evaluate(features=places["features"], head=places["head"], out=tmp_path / "e", overrides=["evaluate.bootstrap=100"])
    with (tmp_path / "e" / "predictions.csv").open() as file:
        expected = {row["slide_id"]: row for row in csv.DictReader(file)}
    without_labels(places["features"])
    summary = predict(**places)
    found = rows_of(places["out"])
    assert len(found) == 40 > len(expected) == 16
    assert summary["slides_predicted"] == 40
    members = load_members(places["head"])
    for slide, row in expected.items():
        for name in CLASSES:
            assert float(found[slide][f"prob_{name}"]) == pytest.approx(float(row[f"prob_{name}"]), abs=1e-6)
        assert found[slide]["predicted"] == row["predicted"]
        assert found[slide]["patient_id"] == row["patient_id"]
        assert found[slide]["note"] == ""
    slides = list(expected)
    model = predict_files(
        members, [str(slide_path(places["features"], slide)) for slide in slides], [None] * len(slides)
    )
    np.testing.assert_allclose([[float(found[s][f"prob_{n}"]) for n in CLASSES] for s in slides], model, atol=1e-12)


def test_attention_is_the_mean_over_members_and_says_where_patches_lie(places):
    predict(**places)
    bags = load_bags(places["features"], slides_of(read_slides(places["features"]).slides, "test"), CLASSES)
    each = [predict_bags(member.head, bags)[1].numpy() for member in load_members(places["head"])]
    assert np.abs(each[0] - each[1]).max() > 1e-4
    offsets = bags.offsets.tolist()
    for index, slide in enumerate(bags.slide_ids):
        rows = slice(offsets[index], offsets[index + 1])
        found = read_attention(places["out"] / "attention", slide)
        np.testing.assert_allclose(found.attention, np.mean(each, axis=0)[rows], atol=1e-6)
        np.testing.assert_allclose(found.member_attention, np.stack(each)[:, rows], atol=1e-6)
        np.testing.assert_array_equal(found.coords, bags.coords[rows])
        assert found.attention.sum() == pytest.approx(1, abs=1e-5)
        assert found.classes == CLASSES
        assert found.members == [f"seed-{seed}" for seed in range(MEMBERS)]
    with h5py.File(places["out"] / "attention" / "test-000.h5") as file:
        assert set(file) == {"attention", "coords", "member_attention", "member_probabilities"}
        assert file["coords"].dtype == np.int64


def test_how_sure_it_is(places):
    predict(**places)
    row = rows_of(places["out"])["test-003"]
    members = read_attention(places["out"] / "attention", "test-003").member_probabilities
    top = CLASSES.index(row["predicted"])
    assert float(row["member_sd"]) == pytest.approx(np.std(members[:, top], ddof=1))
    mean = members.mean(axis=0)
    assert float(row["entropy"]) == pytest.approx(-(mean * np.log(mean)).sum())
    assert entropy(np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert entropy(np.array([1.0, 0.0])) == 0
    alone = row_of(Prediction("s", None, 1, np.array([[0.2, 0.8]])), CLASSES, {})
    assert "member_sd" not in alone, "one member says nothing of others"


def test_a_run_brings_the_temperature_and_threshold_of_its_evaluation(places, tmp_path):
    run = tmp_path / "run"
    write_json(run / "identity.json", {"format": 1, "manifest": None})
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 100}\n")
    ids = sorted(read_slides(places["features"]).ids)[-8:]
    for place in (places["head"] / "members").iterdir():
        values = read_json(place / "config.json")
        write_json(
            place / "config.json", values | {"val_slides": [slide for slide in ids if slide.startswith("train")]}
        )
    assert "calibrated_positive" not in next(iter(rows_of_run(run).values()))
    evaluated = evaluate(run=run)
    chosen = evaluated["calibrated"]["chosen"][0]
    row = rows_of_run(run)["test-000"]
    odds = (float(row["prob_positive"]) / float(row["prob_negative"])) ** (1 / chosen["temperature"])
    assert float(row["calibrated_positive"]) == pytest.approx(odds / (1 + odds))
    assert row["predicted_calibrated"] == CLASSES[float(row["prob_positive"]) >= chosen["threshold"]]


def test_with_folds_the_members_speak_that_never_saw_the_slide_and_of_a_new_one_all(places, tmp_path):
    run, features = tmp_path / "run", places["features"]
    write_json(run / "identity.json", {"format": 1, "manifest": None})
    (run / "recipe.yaml").write_text("data: {fold: fold}\nevaluate: {bootstrap: 100}\n")
    table = read_slides(features).slides
    folds = ["ab"[int(patient[-1]) // 2 % 2] for patient in table["patient_id"].to_pylist()]
    write_slides(features, table.append_column("fold", pa.array(folds)))
    for place, fold in zip(sorted((places["head"] / "members").iterdir()), "aab", strict=True):
        others = [slide for slide, own in zip(table["slide_id"].to_pylist(), folds, strict=True) if own != fold]
        write_json(place / "config.json", read_json(place / "config.json") | {"fold": fold, "val_slides": others[:8]})
    evaluate(run=run)
    with (run / "evaluate" / "predictions.csv").open() as file:
        expected = {row["slide_id"]: float(row["prob_positive"]) for row in csv.DictReader(file)}
    new = write_store(tmp_path / "new", slides={"new": 2})
    for slide in ("new-000", "new-001"):
        shutil.copy(slide_path(new, slide), features)
    both = pa.concat_tables([read_slides(features).slides, read_slides(new).slides], promote_options="default")
    both_here = tmp_path / "both"
    shutil.copytree(features, both_here)
    write_slides(both_here, both)
    summary = predict(features=both_here, run=run, out=places["out"])
    assert any(note.startswith("slides without calibrated values: 2;") for note in summary["notes"])
    found = {slide: float(row["prob_positive"]) for slide, row in rows_of(places["out"]).items()}
    assert {slide: found[slide] for slide in expected} == pytest.approx(expected, abs=1e-6)
    assert len(expected) == 40
    assert all((row["calibrated_positive"] == "") == s.startswith("new") for s, row in rows_of(places["out"]).items())
    said = {s: read_attention(places["out"] / "attention", s).members for s in ("test-000", "test-004", "new-000")}
    assert said["new-000"] == ["seed-0", "seed-1", "seed-2"]
    assert sorted(map(tuple, (said["test-000"], said["test-004"]))) == [("seed-0", "seed-1"), ("seed-2",)]
    write_json(new / "identity.json", EMBED)
    summary = predict(features=new, run=run, out=tmp_path / "alone")
    assert not [name for name in rows_of(tmp_path / "alone")["new-000"] if "calibrated" in name]
    assert any(note.startswith("slides without calibrated values: 2;") for note in summary["notes"])


@pytest.fixture
def nested(places: dict[str, Path]) -> Path:
    """A run whose head was tuned with the folds of a table that its own recipe does not name."""
    run = places["features"].parent
    write_json(run / "identity.json", {"format": 1, "manifest": None})
    (run / "recipe.yaml").write_text("evaluate: {bootstrap: 100}\n")
    slides = read_slides(places["features"]).slides
    folds = ["ab"[int(patient[-1]) // 2 % 2] for patient in slides["patient_id"].to_pylist()]
    rows = [f"{slide},{fold}" for slide, fold in zip(slides["slide_id"].to_pylist(), folds, strict=True)]
    (run.parent / "folds.csv").write_text("\n".join(["slide_id,fold", *rows]) + "\n")
    for place, fold in zip(sorted((places["head"] / "members").iterdir()), "aab", strict=True):
        others = [row.split(",")[0] for row in rows if not row.endswith(fold)]
        write_json(place / "config.json", read_json(place / "config.json") | {"fold": fold, "val_slides": others[:2]})
    return run


def test_a_head_of_folds_needs_the_folds_of_its_cohort(nested, places, wsc_ray_command):
    """Without them members would speak of slides that they were fitted to."""
    command = ("predict", "--run", nested, "--features", places["features"], "--out", places["out"])
    status, text = wsc_ray_command(*command)
    assert status == 2
    assert "tuned with folds; name their column with data.fold" in text
    status, text = wsc_ray_command(*command, "--set", "data.fold=fold")
    assert status == 2
    assert "has no column `fold`" in text
    assert not places["out"].exists()
    named = [f"data.cohort={nested.parent / 'folds.csv'}", "data.fold=fold"]
    summary = predict(features=places["features"], run=nested, out=places["out"], overrides=named)
    said = {read_attention(places["out"] / "attention", slide).members[0] for slide in rows_of(places["out"])}
    assert said == {"seed-0", "seed-2"}
    assert all(len(read_attention(places["out"] / "attention", s).members) < MEMBERS for s in rows_of(places["out"]))
    assert not any("not recognised" in note for note in summary["notes"])


@pytest.mark.parametrize("how", ["no run", "cohort has moved"])
def test_where_the_cohort_is_not_known_the_heads_own_list_speaks(nested, places, how):
    if how == "no run":
        summary = predict(**places)
    else:
        named = [f"data.cohort={nested.parent / 'moved.csv'}", "data.fold=fold"]
        summary = predict(features=places["features"], run=nested, out=places["out"], overrides=named)
    expected = set().union(*(member.config["val_slides"] for member in load_members(places["head"])))
    assert (
        {s for s, row in rows_of(places["out"]).items() if "fitted to this slide" in row["note"]} == expected != set()
    )
    (note,) = [note for note in summary["notes"] if "not recognised" in note]
    assert ("without --run" if how == "no run" else "moved.csv") in note


def rows_of_run(run: Path) -> dict[str, dict[str, str]]:
    predict(features=run / "features", run=run)
    return rows_of(run / "predict")


def test_a_slide_without_patches_and_damaged_files_have_rows_that_say_so(places):
    features = places["features"]
    empty = SlideFeatures("test-005", np.zeros((0, 8), np.float32), np.zeros((0, 2), np.int64))
    write_slide(features, empty, attributes={}, coords_attributes={})
    table = read_slides(features).slides
    counts = [
        0 if s == "test-005" else n
        for s, n in zip(table["slide_id"].to_pylist(), table["patches"].to_pylist(), strict=True)
    ]
    write_slides(features, table.set_column(table.column_names.index("patches"), "patches", pa.array(counts)))
    cut = slide_path(features, "test-006")
    cut.write_bytes(cut.read_bytes()[:700])
    flipped = slide_path(features, "test-007")
    content = bytearray(flipped.read_bytes())
    content[-20] ^= 1
    flipped.write_bytes(content)
    slide_path(features, "test-008").unlink()
    summary = predict(**places, geojson=True)
    rows = rows_of(places["out"])
    assert len(rows) == 40
    assert (summary["slides_predicted"], summary["slides_not_predicted"]) == (36, 4)
    for slide, reason in (
        ("test-005", "no patches"),
        ("test-006", "cannot be read"),
        ("test-007", "damaged"),
        ("test-008", "missing"),
    ):
        assert reason in rows[slide]["note"], slide
        assert rows[slide]["predicted"] == rows[slide]["prob_positive"] == rows[slide]["entropy"] == ""
        assert rows[slide]["patches"] == "0"
        assert not (places["out"] / "attention" / f"{slide}.h5").exists()
        assert slide in summary["notes"][0] or any(slide in note for note in summary["notes"])


def test_a_folder_of_files_as_trident_writes_them(places, tmp_path):
    folder = tmp_path / "features_made-up"
    folder.mkdir()
    for path in sorted(places["features"].glob("test-00*.h5")):
        shutil.copy(path, folder)
    with h5py.File(folder / "other.h5", "w") as file:  # without our checksum, and as a writer with chunks does
        file.create_dataset("features", data=np.ones((4, 8), np.float16), chunks=(2, 8))
        coords = file.create_dataset("coords", data=np.arange(8).reshape(4, 2) * 512)
        coords.attrs.update({"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20, "overlap": 0})
    predict(features=places["features"], head=places["head"], out=tmp_path / "whole")
    summary = predict(features=folder, head=places["head"], out=places["out"], geojson=True)
    assert any("only their width was compared" in note for note in summary["notes"])
    rows, whole = rows_of(places["out"]), rows_of(tmp_path / "whole")
    assert len(rows) == 11
    for slide in rows.keys() - {"other"}:
        assert rows[slide]["prob_positive"] == whole[slide]["prob_positive"]
        assert rows[slide]["patient_id"] == ""
    found = read_attention(places["out"] / "attention", "other")
    assert (found.attributes["mpp"], found.attributes["mpp_level0"], found.patch_size_level0) == (0.5, 0.25, 512)
    drawn = json.loads((places["out"] / "geojson" / "other.geojson").read_text())
    assert drawn["features"][-1]["geometry"]["coordinates"][0][0] == [6 * 512, 7 * 512]
    assert "no GeoJSON" in rows["test-000"]["note"], "those files do not say how large a patch is"


def test_a_dry_run_touches_nothing(places):
    before = there(places["out"].parent)
    plan = predict(**places, dry_run=True)
    assert (plan["slides"], plan["members"], plan["classes"]) == (40, MEMBERS, CLASSES)
    assert there(places["out"].parent) == before


def test_the_same_call_again_after_a_kill_writes_the_same(places, tmp_path, mlflow_store):
    """SIGKILL once attention files are being written; then the same command again."""
    count = 150
    features = write_store(tmp_path / "many", shift=1.0, slides={"test": count})
    write_json(features / "identity.json", EMBED)
    options = {"features": features, "head": places["head"], "out": places["out"]}
    words = [str(word) for name, path in options.items() for word in (f"--{name}", path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "wsc_ray", "predict", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    attention = places["out"] / "attention"
    while process.poll() is None and len(there(attention)) < 7:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.wait()
    assert not (places["out"] / "predictions.csv").exists()
    assert not (places["out"] / "summary.json").exists()

    summary = predict(**options)
    assert len(list(attention.glob("*.h5"))) == count
    for path in attention.glob("*.h5"):
        checksums.check(path)
    table = (places["out"] / "predictions.csv").read_bytes()
    assert predict(**options)["mlflow"] == summary["mlflow"]
    assert (places["out"] / "predictions.csv").read_bytes() == table
    alone = predict(**options | {"out": tmp_path / "alone"})
    assert (tmp_path / "alone" / "predictions.csv").read_bytes() == table
    assert alone["slides"] == summary["slides"] == count
    run = MlflowClient(mlflow_store).get_run(summary["mlflow"]["run_id"])
    assert run.data.metrics["slides_predicted"] == count
    assert [each.path for each in MlflowClient(mlflow_store).list_artifacts(run.info.run_id)] == ["predictions.csv"]
