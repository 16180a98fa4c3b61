"""The search as users run it: on Ray, killed in the middle, typed again."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import wsc_ray
from wsc_ray.commands import tune
from wsc_ray.errors import DataError, RecipeError, RunFolderError, TrackingError
from wsc_ray.features.store import slide_path
from wsc_ray.files import read_json
from wsc_ray.mil.ensemble import load_members, member_seed
from wsc_ray.mil.head import HEADS, load_head
from wsc_ray.mil.search import describe_search as describe
from wsc_ray.mil.trials import SCRATCH

from .cohort import write_store

TRIALS, SEEDS = 4, 2
SETTINGS = [
    f"tune.trials={TRIALS}",
    f"tune.seeds={SEEDS}",
    "tune.epochs=30",
    "tune.patience=30",
    "tune.bags_per_step=2",
    "tune.hidden=[8, 16]",
    "tune.attention=[8]",
]
NAMES = [*(f"seed-{i}" for i in range(SEEDS)), *(f"trial-{i:03d}" for i in range(TRIALS))]
ROOT = Path(wsc_ray.__file__).parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features, of which those of test slides are taken away: a search that reads them fails."""
    folder = write_store(tmp_path_factory.mktemp("store") / "features", slides={"train": 30, "test": 6})
    for number in range(6):
        slide_path(folder, f"test-{number:03d}").unlink()
    return folder


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.fixture(scope="module")
def searched(
    store: Path, ray_here: None, mlflow_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A search that nothing interrupts: its folder and what `tune` returned."""
    out = tmp_path_factory.mktemp("searched") / "mil"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
        yield out, tune(features=store, out=out, overrides=SETTINGS)


def outcome(out: Path) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    """What a search decides: the rows of `trials.csv` apart from the time they took, and the weights of head and members."""
    with (out / "trials.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    kept = [out / "model.safetensors", *out.glob("members/*/*")]
    return rows, {str(path.relative_to(out)): path.read_bytes() for path in kept if path.is_file()}


def children(out: Path, uri: str) -> list[Any]:
    client = MlflowClient(uri)
    run = client.get_run(read_json(out / "mlflow.json")["run_id"])
    query = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    return client.search_runs([run.info.experiment_id], query)


def test_what_a_search_leaves(searched: tuple[Path, dict[str, Any]], mlflow_store: str, store: Path) -> None:
    out, summary = searched
    assert summary == read_json(out / "summary.json")
    assert summary["trials_done"] == TRIALS
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    rows, _ = outcome(out)
    assert [row["trial"] for row in rows] == [f"trial-{i:03d}" for i in range(TRIALS)]
    best = max(rows, key=lambda row: (float(row["val_auroc"]), -float(row["val_loss"])))
    assert [row["trial"] for row in rows if row["chosen"] == "True"] == [best["trial"]] == [summary["best"]["trial"]]
    head, config = load_head(out)
    assert config["classes"] == ["negative", "positive"]
    assert config["hidden"] == head.embed.out_features == int(best["hidden"])

    client = MlflowClient(mlflow_store)
    run = client.get_run(summary["mlflow"]["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["tune.trials"] == str(TRIALS)
    assert run.data.metrics["val_auroc"] == summary["val"]["auroc"]
    assert run.inputs.dataset_inputs[0].dataset.name == store.name
    runs = children(out, mlflow_store)
    assert sorted(child.info.run_name for child in runs) == NAMES
    trials = [child for child in runs if child.info.run_name.startswith("trial")]
    assert all({"lr", "gated"} <= child.data.params.keys() for child in trials)
    text = describe(summary)
    assert summary["best"]["trial"] in text
    assert "chosen on" in text


def test_a_complete_search_is_left_as_it_is(
    searched: tuple[Path, dict[str, Any]], store: Path, mlflow_store: str
) -> None:
    out, summary = searched
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = tune(features=store, out=out, overrides=[*SETTINGS, "tune.concurrent=1"])
    assert again == {**summary, "already_complete": True}
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert len(children(out, mlflow_store)) == TRIALS + SEEDS
    assert "already complete" in describe(again)


@pytest.mark.parametrize("change", ["tune.lr=[1e-3, 1e-2]", "tune.trials=5", "seed=1"])
def test_another_search_in_its_place_is_refused(
    searched: tuple[Path, dict[str, Any]], store: Path, change: str
) -> None:
    with pytest.raises(RunFolderError, match=f"holds a search with other settings(.|\n)*`{change.split('=')[0]}`"):
        tune(features=store, out=searched[0], overrides=[*SETTINGS, change])


def test_other_features_in_its_place_are_refused(searched: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    other = write_store(tmp_path / "features", slides={"train": 30, "test": 6}, seed=1)
    with pytest.raises(RunFolderError, match="features: of other content"):
        tune(features=other, out=searched[0], overrides=SETTINGS)


DRIVER = """
import json, sys
from wsc_ray.commands import tune
tune(**json.loads(sys.argv[1]))
"""


def test_a_search_killed_and_typed_again_ends_as_one_that_was_not(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path, mlflow_store: str
) -> None:
    out = tmp_path / "mil"
    arguments = {"features": str(store), "out": str(out), "overrides": [*SETTINGS, "tune.concurrent=1"]}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("trials/*/trial.json")):
        assert driver.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = {path: path.read_bytes() for path in out.glob("trials/*/trial.json")}
    assert 1 <= len(done) < TRIALS
    assert not (out / "summary.json").exists()
    assert tune(features=store, out=out, overrides=SETTINGS, dry_run=True)["trials_there"] == len(done)

    summary = tune(features=store, out=out, overrides=SETTINGS)
    assert summary["trials_done"] == TRIALS
    assert all(path.read_bytes() == content for path, content in done.items())  # not repeated
    assert outcome(out) == outcome(searched[0])
    names = [child.info.run_name for child in children(out, mlflow_store)]
    assert sorted(names) == NAMES


def test_every_head_of_the_registry_is_searched(store: Path, ray_here: None, tmp_path: Path) -> None:
    heads = HEADS.names()
    small = [f"tune.heads=[{', '.join(heads)}]", f"tune.trials={len(heads)}", "tune.epochs=2"]
    summary = tune(features=store, out=tmp_path / "mil", overrides=[*SETTINGS, *small])
    rows, _ = outcome(tmp_path / "mil")
    assert [row["head"] for row in rows] == heads
    assert all(float(row["val_loss"]) > 0 for row in rows)
    assert summary["best"]["head"] in heads
    assert f"best        {summary['best']['trial']}: {summary['best']['head']}" in describe(summary)


def test_a_dry_run_touches_nothing(store: Path, tmp_path: Path) -> None:
    plan = tune(features=store, out=tmp_path / "mil", overrides=SETTINGS, dry_run=True)
    assert plan["slides"]["train"] + plan["slides"]["val"] == 30
    assert (plan["trials"], plan["trials_there"]) == (TRIALS, 0)
    assert not (tmp_path / "mil").exists()
    assert f"{TRIALS}, 2 at a time" in describe(plan)


def test_a_run_folder_says_where_everything_is(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(store, run / "features")
    (run / "run.json").write_text('{"format": 1}')
    (run / "recipe.yaml").write_text("tune: {trials: 7}\n")
    plan = tune(run=run, dry_run=True)
    assert (plan["features"], plan["out"], plan["trials"]) == (str(run / "features"), str(run / "mil"), 7)
    assert tune(run=run, overrides=["tune.trials=3"], out=tmp_path / "else", dry_run=True)["trials"] == 3


def test_what_a_user_can_do_wrong_writes_nothing(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "mil"
    with pytest.raises(DataError, match="holds no features"):
        tune(features=tmp_path, out=out)
    with pytest.raises(RecipeError, match="--out: missing"):
        tune(features=store)
    with pytest.raises(RunFolderError, match="is not a run folder"):
        tune(run=tmp_path)
    with pytest.raises(DataError, match="none of the slides' labels"):
        tune(features=store, out=out, overrides=["data.pure=[normal]"])
    with pytest.raises(DataError, match="no slide is in split `fit`"):
        tune(features=store, out=out, overrides=["data.train_split=fit"])
    with pytest.raises(RecipeError, match=r"did you mean `tune\.trials`"):
        tune(features=store, out=out, overrides=["tune.trial=3"])
    with pytest.raises(RunFolderError, match="is taken"):
        tune(features=store, out=store)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError):
        tune(features=store, out=out, overrides=SETTINGS)
    assert not out.exists()


def test_members_differ_by_their_seed_alone_and_the_first_is_the_chosen_head(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    out, summary = searched
    members = load_members(out)
    assert [(member.name, member.seed, member.fold) for member in members] == [("seed-0", 0, None), ("seed-1", 1, None)]
    head, config = load_head(out)
    first, second = (member.head.state_dict() for member in members)
    assert all(torch.equal(first[key], value) for key, value in head.state_dict().items())
    assert not torch.equal(first["embed.weight"], second["embed.weight"])
    assert torch.equal(first["mean"], second["mean"])  # the same training slides
    for member in members:
        assert member.config["setting"] == config["setting"]
        assert summary["members"][member.name] == member.config["val"]


def test_more_seeds_are_added_to_a_search_that_is_complete(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path, ray_here: None
) -> None:
    out = tmp_path / "mil"
    shutil.copytree(searched[0], out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("[mt]*/*/*")}
    summary = tune(features=store, out=out, overrides=[*SETTINGS, "tune.seeds=3"])
    assert list(summary["members"]) == ["seed-0", "seed-1", "seed-2"]
    assert "already_complete" not in summary
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tune(features=store, out=out, overrides=SETTINGS)["already_complete"]  # fewer are there too


def test_a_search_without_members_gets_them(searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path) -> None:
    """What searches left before there were members."""
    out = tmp_path / "mil"
    shutil.copytree(searched[0], out)
    shutil.rmtree(out / "members")
    assert [member.name for member in load_members(out)] == ["head"]
    tune(features=store, out=out, overrides=SETTINGS)
    assert outcome(out) == outcome(searched[0])


def test_members_of_a_search_that_has_not_ended_are_not_evaluated(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "mil"
    shutil.copytree(searched[0], out)
    (out / "summary.json").unlink()
    with pytest.raises(RunFolderError, match="is not complete"):
        load_members(out)


def test_what_tune_needed_is_gone_though_every_trial_was_there(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    """A search that was killed between its last trial and the removal of Tune's own files."""
    out = tmp_path / "mil"
    shutil.copytree(searched[0], out)
    (out / "summary.json").unlink()
    (out / SCRATCH / "search").mkdir(parents=True)
    (out / SCRATCH / "search" / "basic-variant-state.json").write_bytes(b"\x80")
    tune(features=store, out=out, overrides=SETTINGS)
    assert not (out / SCRATCH).exists()
    assert outcome(out) == outcome(searched[0])


def test_seeds_of_members_are_shared_by_no_two_recipes() -> None:
    seeds = [member_seed(recipe, number) for recipe in range(20) for number in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert [member_seed(recipe, 0) for recipe in range(5)] == [0, 1, 2, 3, 4]
    assert max(seeds) < 2**31
