"""Folds held out in turn: each has a search of its own, which never sees the fold's slides."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from wsc_ray.cohort import choose_slides, write_cohort
from wsc_ray.cohort.cohort import FOLD
from wsc_ray.commands import evaluate, tune
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.features.store import read_slides, slide_path
from wsc_ray.mil.ensemble import load_members
from wsc_ray.mil.inputs import fitting_sides
from wsc_ray.mil.search import describe_search
from wsc_ray.recipe.sections import Data, Recipe

from .cohort import write_store

FOLDS = ["a", "b", "c"]
SETTINGS = [
    "data.fold=fold_0",
    "tune.trials=2",
    "tune.concurrent=1",
    "tune.seeds=2",
    "tune.epochs=4",
    "tune.hidden=[8]",
    "tune.attention=[8]",
]
NESTED = Recipe(data=Data(fold="fold_0"))


def fold_of(patient: str) -> str:
    return FOLDS[int(patient[-3:]) // 2 % 3]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features with a column of folds; whole patients, labels in turn."""
    folder = write_store(tmp_path_factory.mktemp("store") / "features", slides={"train": 48})
    slides = read_slides(folder).slides
    folds = pa.array([fold_of(patient) for patient in slides["patient_id"].to_pylist()])
    write_cohort(folder, slides.append_column("fold_0", folds))
    return folder


@pytest.fixture(autouse=True)
def tracked(mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)


@pytest.fixture(scope="module")
def searched(
    store: Path, ray_here: None, mlflow_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("nested") / "mil"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
        yield out, tune(features=store, out=out, overrides=SETTINGS)


def table(folds: dict[str, str | None], labels: dict[str, str] | None = None) -> pa.Table:
    """A slide a patient, labels in turn unless given."""
    names = list(folds)
    labels = labels or {name: ("negative", "positive")[i % 2] for i, name in enumerate(names)}
    columns = {"slide_id": names, "patient_id": names, "label": [labels[name] for name in names]}
    return pa.table(
        {
            **columns,
            "split": pa.array([None] * len(names), pa.string()),
            FOLD: pa.array([*folds.values()], pa.string()),
            "patches": [5] * len(names),
        }
    )


def test_no_side_of_a_search_has_a_slide_of_its_fold() -> None:
    folds = {f"s{i:02d}": FOLDS[i // 2 % 3] for i in range(30)}
    classes, sides = fitting_sides(table({**folds, "left": None, "out": None}), NESTED)
    assert (classes, [side.fold for side in sides]) == (["negative", "positive"], FOLDS)
    for side in sides:
        train, val, held_out = (set(each["slide_id"].to_pylist()) for each in (side.train, side.val, side.held_out))
        assert held_out == {name for name, fold in folds.items() if fold == side.fold}
        assert not train & val
        assert train | val == set(folds) - held_out
        assert set(side.val["label"].to_pylist()) == set(classes)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (dict.fromkeys("pqrs", "a"), "`fold_0` has 1 folds"),
        (dict.fromkeys("pqrs"), r"has 0 folds \(none\)"),
        ({"p": "a", "q": "a", "r": "b", "s": "b", "t": "c"}, "fold c of column `fold_0` has no slide .* of positive"),
        ({"p": "a", "q": "a", "r": "b/c", "s": "b/c"}, "fold 'b/c' .* cannot be part of a file name"),
        ({"p": "a", "q": "a", "r": "b", "s": "b"}, "slides of one patient only"),
    ],
)
def test_folds_that_no_search_can_be_nested_in(folds: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitting_sides(table(folds), NESTED)


def test_each_fold_has_its_own_search_and_members(searched: tuple[Path, dict[str, Any]], store: Path) -> None:
    out, summary = searched
    _, sides = fitting_sides(choose_slides(read_slides(store), NESTED.data).slides, NESTED)
    val_slides = {side.fold: side.val["slide_id"].to_pylist() for side in sides}
    assert list(summary["searches"]) == list(summary["folds"]) == FOLDS
    assert summary["trials_done"] == 2 * len(FOLDS)
    members = load_members(out)
    assert [(member.name, member.fold, member.seed) for member in members] == [
        (f"fold-{fold}-seed-{seed}", fold, seed) for fold in FOLDS for seed in (0, 1)
    ]
    for member in members:
        found = summary["searches"][member.fold]
        assert member.config["trial"] == found["best"]["trial"]
        assert member.config["val"] == found["members"][member.name]
        assert member.config["val_slides"] == val_slides[member.fold]
        assert (out / "folds" / member.fold / "trials" / member.config["trial"] / "trial.json").is_file()
    lines = (out / "trials.csv").read_text().splitlines()
    assert lines[0].startswith("fold,trial,head,")
    assert [line.split(",")[0] for line in lines[1:]] == [fold for fold in FOLDS for _ in range(2)]
    assert not (out / "model.safetensors").exists()  # no head of all folds, which would have seen every slide
    assert "fold b" in describe_search(summary)


def test_every_slide_is_measured_by_the_members_that_never_saw_it(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    options = ["data.fold=fold_0", "evaluate.bootstrap=100"]
    summary = evaluate(features=store, head=searched[0], out=tmp_path / "evaluate", overrides=options)
    assert summary["slides"] == 48
    with (tmp_path / "evaluate" / "member_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 * 2  # two seeds
    slides = {row["slide_id"]: fold_of(row["patient_id"]) for row in read_slides(store).slides.to_pylist()}
    assert all(row["member"].startswith(f"fold-{slides[row['slide_id']]}-") for row in rows)


def test_it_goes_on_where_it_stood(searched: tuple[Path, dict[str, Any]], store: Path) -> None:
    out, summary = searched
    assert tune(features=store, out=out, overrides=SETTINGS) == {**summary, "already_complete": True}
    lost = out / "members" / "fold-b-seed-1"
    before = {path: path.read_bytes() for path in lost.iterdir()}
    kept = {path: path.stat().st_mtime_ns for path in out.glob("members/*/*") if path.parent != lost}
    for path in before:
        path.unlink()
    again = tune(features=store, out=out, overrides=SETTINGS)
    assert again["searches"] == summary["searches"]
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_other_folds_in_its_place_are_refused(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    slides = read_slides(store).slides
    order = {"a": "b", "b": "a", "c": "c"}
    other = [f"{row['slide_id']},{order[row['fold_0']]}" for row in slides.to_pylist()]
    (tmp_path / "f.csv").write_text("\n".join(["slide_id,fold_0", *other]) + "\n")
    with pytest.raises(RunFolderError, match="the folds: of other slides"):
        tune(features=store, out=searched[0], overrides=[*SETTINGS, f"data.cohort={tmp_path}/f.csv"])


def test_a_folds_search_does_not_read_its_slides_in_deciding(
    searched: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path, ray_here: None
) -> None:
    """With other features in fold a, the search that holds fold a out finds the same members."""
    other = write_store(tmp_path / "features", slides={"train": 48})
    slides = read_slides(store).slides
    write_cohort(other, slides)
    shifted = write_store(tmp_path / "shifted", slides={"train": 48}, shift=9.0)
    for slide in slides.filter(pc.equal(slides["fold_0"], "a"))["slide_id"].to_pylist():
        slide_path(other, slide).write_bytes(slide_path(shifted, slide).read_bytes())
    tune(features=other, out=tmp_path / "mil", overrides=SETTINGS)
    for name in ("fold-a-seed-0", "fold-a-seed-1"):
        weights = [out / "members" / name / "model.safetensors" for out in (searched[0], tmp_path / "mil")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    name = Path("members/fold-b-seed-0/model.safetensors")
    assert (searched[0] / name).read_bytes() != (tmp_path / "mil" / name).read_bytes()


def test_a_dry_run_says_the_folds(store: Path, tmp_path: Path) -> None:
    plan = tune(features=store, out=tmp_path / "mil", overrides=SETTINGS, dry_run=True)
    assert plan["folds"] == {"a": 16, "b": 16, "c": 16}
    assert json.dumps(plan)
    assert "each held out in turn" in describe_search(plan)
    assert not (tmp_path / "mil").exists()
