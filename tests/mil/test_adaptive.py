"""Searches whose trials depend on each other (TPE, ASHA), as users run them: on Ray, killed in the middle, typed again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsc_ray
from wsc_ray.commands import tune
from wsc_ray.errors import RecipeError, RunFolderError
from wsc_ray.mil.head import load_head
from wsc_ray.mil.search import describe_search

from .cohort import write_store

TRIALS = 14  # past TPE's ten random ones
SETTINGS = [
    f"tune.trials={TRIALS}",
    "tune.search=tpe",
    "tune.scheduler=asha",
    "tune.grace=1",
    "tune.heads=[abmil, mean]",
    "tune.concurrent=1",
    "tune.seeds=1",
    "tune.epochs=12",
    "tune.bags_per_step=2",
    "tune.hidden=[8, 16]",
    "tune.attention=[8]",
]
ROOT = Path(wsc_ray.__file__).parents[1]
DRIVER = "import json, sys; from wsc_ray.commands import tune; tune(**json.loads(sys.argv[1]))"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "features", slides={"train": 30}, shift=1.0)


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.fixture(scope="module")
def searched(
    store: Path, ray_here: None, mlflow_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A search that nothing interrupts."""
    out = tmp_path_factory.mktemp("searched") / "mil"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
        yield out, tune(features=store, out=out, overrides=SETTINGS)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_what_a_search_leaves(searched: tuple[Path, dict[str, Any]]) -> None:
    out, summary = searched
    found = rows(out)
    assert [row["trial"] for row in found] == [f"trial-{i:03d}" for i in range(TRIALS)]
    stopped = [row for row in found if row["stopped"] == "True"]
    assert 0 < len(stopped) < TRIALS
    assert {row["epochs"] for row in stopped} <= {"1", "3", "9"}  # the rungs
    (chosen,) = [row for row in found if row["chosen"] == "True"]
    assert chosen["stopped"] == "False"
    assert summary["trials_stopped"] == len(stopped)
    assert f"{len(stopped)} of them stopped early" in describe_search(summary)
    assert {row["head"] for row in found} == {"abmil", "mean"}
    for row in found:  # a stopped trial keeps its head too
        _, config = load_head(out / "trials" / row["trial"])
        assert (config["lr"], config["head"]) == (float(row["lr"]), row["head"])
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_killed_and_typed_again_it_ends_as_one_that_was_not(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mil"
    arguments = {"features": str(store), "out": str(out), "overrides": SETTINGS}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("trials/*/trial.json"))) < 3:
        assert driver.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = {path: path.read_bytes() for path in out.glob("trials/*/trial.json")}
    assert 3 <= len(done) < TRIALS
    tune(features=store, out=out, overrides=SETTINGS)
    assert all(path.read_bytes() == content for path, content in done.items())  # not repeated
    assert rows(out) == rows(searched[0])
    weights = [folder / "model.safetensors" for folder in (out, searched[0])]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("change", ["tune.search=random", "tune.scheduler=none", "tune.grace=2"])
def test_another_way_of_searching_is_another_search(
    searched: tuple[Path, dict[str, Any]], store: Path, change: str
) -> None:
    with pytest.raises(RunFolderError, match=f"`{change.split('=')[0]}`"):
        tune(features=store, out=searched[0], overrides=[*SETTINGS, change])


def test_the_scheduler_alone_stops_trials_of_a_random_search(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path, ray_here: None
) -> None:
    random = [*SETTINGS, "tune.search=random", "tune.trials=6"]
    tune(features=store, out=tmp_path / "asha", overrides=random)
    tune(features=store, out=tmp_path / "all", overrides=[*random, "tune.scheduler=none"])
    with_asha, without = rows(tmp_path / "asha"), rows(tmp_path / "all")
    assert [row["lr"] for row in with_asha] == [row["lr"] for row in without]
    assert 0 < sum(row["stopped"] == "True" for row in with_asha) < 6
    assert all(row["stopped"] == "False" for row in without)
    for row, whole in zip(with_asha, without, strict=True):
        if row["stopped"] == "False":  # what is not stopped ends as without a scheduler
            assert {**row, "chosen": ""} == {**whole, "chosen": ""}


def test_asha_needs_epochs_to_stop_in(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`tune\.grace`: 12 epochs leave asha none of 12"):
        tune(features=store, out=tmp_path / "mil", overrides=[*SETTINGS, "tune.grace=12"])
