"""A run that draws its pure class by clusters: they are made once, kept, and the same for any number of workers and after a restart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.feature_files.stores import small_recipe, write_store
from wsc_ray.commands import pretrain
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.files import SUMMARY, read_json
from wsc_ray.pretrain.clusters import clusters_of
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, RunFolder
from wsc_ray.stream.clusters import CLUSTERS, write_clusters
from wsc_ray.stream.source import open_source


def recipe_of(store: Path, tracking: Path, *, clusters: int = 4, workers: int = 1, **changed: object) -> Recipe:
    values = small_recipe(store, f"sqlite:///{tracking}/mlflow.db")
    values["stream"] |= {"by": "cluster", "clusters": clusters}
    values["train"] |= {"workers": workers, **changed}
    return validate_recipe(values)


def test_a_plan_says_its_clusters_and_writes_nothing(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    plan = pretrain(recipe=recipe_of(store, tmp_path), out=tmp_path / "run", dry_run=True)
    assert plan["clusters"]["count"] == 4
    assert 0 < plan["clusters"]["smallest"] <= plan["clusters"]["largest"] < plan["patches"]["pure"]
    assert len(plan["clusters"]["digest"]) == 64
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="fewer than the 1,000 clusters"):
        pretrain(recipe=recipe_of(store, tmp_path, clusters=1000), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_kept_file_counts_and_not_the_features_of_today(tmp_path: Path) -> None:
    store, other = write_store(tmp_path / "store"), write_store(tmp_path / "other")
    recipe = recipe_of(store, tmp_path)
    recipe = recipe.model_copy(update={"stream": recipe.stream.model_copy(update={"features": str(other)})})
    source, run = open_source(recipe.data), RunFolder(tmp_path / "run")
    made = clusters_of(recipe, source, run)
    assert made is not None
    run.path.mkdir()
    write_clusters(run.path / CLUSTERS, made)
    shutil.rmtree(other)
    kept = clusters_of(recipe, source, run)
    assert kept is not None
    assert kept.digest == made.digest
    (run.path / CLUSTERS).unlink()
    with pytest.raises(DataError, match="holds no features"):
        clusters_of(recipe, source, run)
    assert clusters_of(Recipe.model_validate({}), source, run) is None


def test_clusters_are_kept_for_every_worker_and_every_restart(ray_cluster: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    one = pretrain(recipe=recipe_of(store, tmp_path), out=tmp_path / "one")
    two = pretrain(recipe=recipe_of(store, tmp_path, workers=2), out=tmp_path / "two")
    assert one["samples_sha256"] == two["samples_sha256"]
    assert one["clusters"] == two["clusters"]
    kept = pq.read_table(tmp_path / "one" / CLUSTERS)
    assert kept.num_rows == one["patches"]["pure"]
    assert read_json(tmp_path / "one" / IDENTITY)["clusters"] == one["clusters"]["digest"]
    # A run that lost its end goes on with the kept file.
    (tmp_path / "two" / SUMMARY).unlink()
    shutil.rmtree(tmp_path / "two" / "encoder")
    again = pretrain(recipe=recipe_of(store, tmp_path, workers=2), out=tmp_path / "two")
    assert again["samples_sha256"] == one["samples_sha256"]
    # Without the file they are made again, the same ones; of other features they would be others.
    (tmp_path / "two" / CLUSTERS).unlink()
    assert pretrain(recipe=recipe_of(store, tmp_path), out=tmp_path / "two")["already_complete"]
    with pytest.raises(RunFolderError, match=r"stream\.clusters`: 4 there, 3 here"):
        pretrain(recipe=recipe_of(store, tmp_path, clusters=3), out=tmp_path / "one")
    table = kept.set_column(3, "cluster", kept["cluster"].take(list(reversed(range(kept.num_rows)))))
    pq.write_table(table, tmp_path / "one" / CLUSTERS)
    with pytest.raises(RunFolderError):
        pretrain(recipe=recipe_of(store, tmp_path), out=tmp_path / "one")
