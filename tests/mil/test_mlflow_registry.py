"""The ensemble in MLflow's registry: loaded by MLflow in a fresh process, it predicts what the members do."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import wsc_ray
from wsc_ray.commands import evaluate, tune
from wsc_ray.errors import DataError, RecipeError
from wsc_ray.features.store import SlideFeatures, read_slides, slide_path, write_slide
from wsc_ray.mil.bags import load_bags, slides_of
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.fit import predict
from wsc_ray.mil.mlflow_registry import predict_files

from .cohort import write_store

SETTINGS = ["tune.trials=1", "tune.seeds=2", "tune.epochs=3", "tune.hidden=[8]", "tune.attention=[8]"]
NO_ATTRIBUTES: dict[str, Any] = {"attributes": {}, "coords_attributes": {}}
ROOT = Path(wsc_ray.__file__).parents[1]
LOAD = """
import json, sys
import mlflow, pandas
uri, paths, folds = json.loads(sys.argv[1])
columns = {"path": paths} if folds is None else {"path": paths, "fold": folds}
model = mlflow.pyfunc.load_model(uri)
print(json.dumps([model.predict(pandas.DataFrame(columns)).to_dict("list"), model.metadata.metadata]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "features")


@pytest.fixture(scope="module")
def searched(store: Path, ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A search with a store of its own: its folder, its summary and the store."""
    folder = tmp_path_factory.mktemp("searched")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        return folder / "mil", tune(features=store, out=folder / "mil", overrides=SETTINGS), uri


@pytest.fixture
def tuned(
    searched: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Any], str]:
    """The same, whose store commands find in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", searched[2])
    return searched


def in_a_fresh_process(
    uri: str, model: str, paths: list[str], folds: list[str | None] | None, folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps([model, paths, folds])],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_loaded_and_predicts_in_a_fresh_process(
    tuned: tuple[Path, dict[str, Any], str], store: Path, tmp_path: Path
) -> None:
    out, summary, uri = tuned
    assert summary["registered"] == {"name": "wsc-ray", "version": 1, "uri": "models:/wsc-ray/1"}
    bags = load_bags(store, slides_of(read_slides(store).slides, "test"), ["negative", "positive"])
    members = load_members(out)
    each = [predict(member.head, bags)[0].double().softmax(1).numpy() for member in members]
    assert np.abs(each[0] - each[1]).max() > 1e-4  # so that the mean of both differs from each
    paths = [str(slide_path(store, slide)) for slide in bags.slide_ids]
    found, metadata = in_a_fresh_process(uri, "models:/wsc-ray/1", paths, None, tmp_path)
    probabilities = np.array([found["prob_negative"], found["prob_positive"]]).T
    np.testing.assert_allclose(probabilities, np.mean(each, axis=0), atol=1e-6)
    evaluate(features=store, head=out, out=tmp_path / "evaluate", overrides=["evaluate.bootstrap=100"])
    with (tmp_path / "evaluate" / "predictions.csv").open() as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    expected = [[float(rows[slide][f"prob_{name}"]) for name in ("negative", "positive")] for slide in bags.slide_ids]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert found["predicted"] == [("negative", "positive")[i] for i in probabilities.argmax(1)]

    version = MlflowClient(uri).get_model_version("wsc-ray", "1")
    assert version.run_id == summary["mlflow"]["run_id"]
    assert version.tags == metadata
    assert set(metadata) == {f"wsc_ray.{name}" for name in ("features", "cohort", "recipe", "members")}
    kept = {path.suffix for path in Path(version.source.removeprefix("file://")).rglob("*") if path.is_file()}
    assert kept == {"", ".py", ".json", ".safetensors", ".txt", ".yaml"}  # nothing pickled


def test_a_version_is_registered_once_and_others_have_files_of_their_own(
    tuned: tuple[Path, dict[str, Any], str], store: Path, tmp_path: Path
) -> None:
    out, uri = tmp_path / "mil", tuned[2]
    shutil.copytree(tuned[0], out)
    (out / "summary.json").unlink()  # as when the command was killed just before its end
    assert tune(features=store, out=out, overrides=SETTINGS)["registered"]["version"] == 1
    assert tune(features=store, out=out, overrides=[*SETTINGS, "tune.seeds=3"])["registered"]["version"] == 2
    sources = [MlflowClient(uri).get_model_version("wsc-ray", version).source for version in ("1", "2")]
    members = [
        sorted(path.name for path in Path(s.removeprefix("file://")).glob("artifacts/mil/members/*")) for s in sources
    ]
    assert members == [["seed-0", "seed-1"], ["seed-0", "seed-1", "seed-2"]]


def test_none_is_registered_where_none_is_wanted(
    store: Path, ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    summary = tune(features=store, out=tmp_path / "mil", overrides=[*SETTINGS, "tracking.model=null"])
    assert "registered" not in summary
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_registered_models() == []
    with pytest.raises(RecipeError, match=r"`tracking\.model`"):
        tune(features=store, out=tmp_path / "other", overrides=[*SETTINGS, "tracking.model=a/b"])


def test_files_that_cannot_be_predicted_are_named(tuned: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    members = load_members(tuned[0])
    with pytest.raises(DataError, match=r"cannot be read from .*nothing\.h5"):
        predict_files(members, [str(tmp_path / "nothing.h5")], [None])
    other = write_store(tmp_path / "other", width=9)
    with pytest.raises(DataError, match=r"test-000\.h5 has features \(\d+, 9\); the heads need .* 8 dimensions"):
        predict_files(members, [str(slide_path(other, "test-000"))], [None])
    write_slide(
        other, SlideFeatures("nan", np.full((3, 8), np.nan, np.float32), np.zeros((3, 2), np.int64)), **NO_ATTRIBUTES
    )
    with pytest.raises(DataError, match=r"nan\.h5 are not all finite"):
        predict_files(members, [str(slide_path(other, "nan"))], [None])
    with pytest.raises(DataError, match=r"fold 3 of .* has no members"):
        predict_files(members, [str(slide_path(other, "test-000"))], ["3"])
