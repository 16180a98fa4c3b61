"""`tile` with a recipe: its section `tile`, options that override it, the same work by either way, and `run`, which cuts first."""

import os
from pathlib import Path

import pytest
import yaml

from tests.conftest import invoke
from tests.slides.drawn import draw, write
from tests.tiling.test_run import listed
from wsc_ray.commands import run, tile
from wsc_ray.errors import RecipeError, RunFolderError
from wsc_ray.files import read_json, write_json
from wsc_ray.recipe.reading import absolute_paths, validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stage import write_identity
from wsc_ray.tiling.arguments import tiles_first, tiling_arguments

TILE = {"slides": "slides.csv", "patch_size": 64, "file_rows": 64, "row_group_rows": 16}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(**sections) -> Recipe:
    return validate_recipe({"data": {"manifest": "m"}, "tile": TILE, **sections})


def test_the_recipe_gives_what_the_options_leave_out():
    recipe = recipe_of(
        tile={
            **TILE,
            "columns": {"label": "grade", "split": "fold"},
            "constants": {"site": "a"},
            "labels": {"1": "high"},
        },
        tracking={"uri": "sqlite:///x.db", "experiment": "e"},
    )
    values = tiling_arguments(recipe)
    assert values["out"] == "m"
    assert (values["patch_size"], values["mpp"], values["quality"]) == (64, 0.5, 90)
    assert (values["tracking"], values["experiment"]) == ("sqlite:///x.db", "e")
    given = {
        "out": "other",
        "mpp": [1.0],
        "overlap": 0,
        "link": False,
        "columns": {"site": "center"},
        "constants": {"split": "train"},
        "label_names": {"2": "low"},
        "patch_size": None,
    }
    values = tiling_arguments(recipe, given)
    assert (values["out"], values["mpp"], values["overlap"], values["patch_size"]) == ("other", [1.0], 0, 64)
    assert values["columns"] == {"label": "grade", "site": "center"}
    assert values["constants"] == {"split": "train"}
    assert values["label_names"] == {"1": "high", "2": "low"}
    assert tiling_arguments(recipe_of(tile={**TILE, "link": True}), {"link": False})["link"]
    with pytest.raises(RecipeError, match=r"SLIDES: missing(.|\n)*--out: missing"):
        tiling_arguments(Recipe())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mpp": 0}, r"tile\.mpp"),
        ({"mpp": True}, r"tile\.mpp"),
        ({"mpp": []}, r"tile\.mpp"),
        ({"overlap": 64}, r"tile\.overlap.*not less than a patch"),
        ({"row_group_rows": 65}, r"tile\.row_group_rows.*more than a file holds"),
        ({"columns": {"label": "a"}, "constants": {"label": "b"}}, "label has both a column and a constant"),
        ({"slides": "s3://key:secret-of-mine@bucket/x"}, "holds a password or key"),
        ({"patchsize": 3}, r"did you mean `tile\.patch_size`"),
    ],
)
def test_impossible_settings_are_said(values, said):
    with pytest.raises(RecipeError, match=said) as caught:
        recipe_of(tile={**TILE, **values})
    assert "secret-of-mine" not in str(caught.value)


def test_how_slides_are_cut_is_no_part_of_a_training():
    assert recipe_of(tile={**TILE, "mpp": [0.5, 1.0]}).digest() == recipe_of(tile={}).digest()
    assert absolute_paths(recipe_of()).tile.slides == str(Path("slides.csv").absolute())


def test_slides_are_cut_first_where_the_manifest_is_missing_or_half_there(here):
    assert tiles_first(recipe_of())
    assert not tiles_first(recipe_of(tile={}))
    assert not tiles_first(validate_recipe({"tile": TILE}))
    write_identity(here / "m", "tile", {})
    (here / "m" / "patches").mkdir()
    assert tiles_first(recipe_of()), "it was interrupted"
    write_json(here / "m" / "summary.json", {})
    assert not tiles_first(recipe_of())
    (here / "n" / "patches").mkdir(parents=True)
    assert not tiles_first(recipe_of(data={"manifest": "n"})), "of another origin"
    (here / "p.parquet").touch()
    assert not tiles_first(recipe_of(data={"manifest": "p.parquet"}))


def test_begun_by_options_it_goes_on_by_the_recipe(ray_cluster, here):
    for number in range(2):
        write(here / f"n{number}.tif", draw(512, seed=number))
    listed(here, *((f"n{number}.tif", f"n{number}", "negative", "train") for number in range(2)))
    store = f"sqlite:///{here}/runs.db"
    (here / "wsc-ray.yaml").write_text(
        yaml.safe_dump({"data": {"manifest": "m"}, "tile": TILE, "tracking": {"uri": store, "experiment": "slides"}})
    )
    made = tile(slides="slides.csv", out="m", patch_size=64, file_rows=64, row_group_rows=16)
    assert not os.path.exists("mlflow.db")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("slides")
    again = tile(recipe="wsc-ray.yaml")
    assert again["digest"] == made["digest"]
    assert (again["looked_at"], again["patches_cut"]) == (2, 0)
    (only,) = client.search_runs([experiment.experiment_id])
    assert only.info.run_id == again["mlflow"]["run_id"] == made["mlflow"]["run_id"]
    assert only.data.tags["wsc_ray.command"] == "tile"
    assert only.data.params["patch_size"] == "64"
    assert [each.path for each in client.list_artifacts(only.info.run_id)] == ["slides.html"]
    with pytest.raises(RunFolderError, match="`mpp`"):
        tile(mpp=1.0)
    result = invoke("tile", "--set", "tile.overlap=8", "--dry-run")
    assert result.exit_code == 2
    assert "`overlap`: 0 there, 8 here" in result.output
    assert read_json(here / "m" / "summary.json")["digest"] == made["digest"]
    plan = run(out="run", overrides=["data.manifest=new"], dry_run=True)
    assert (plan["listed"], plan["then"][0]) == (2, "pretrain")
    assert not (here / "new").exists()
    assert not (here / "run").exists()
