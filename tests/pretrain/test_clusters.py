"""A run that draws its pure class by clusters: they are made once, kept, and the same for any number of workers and after a restart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.feature_files.stores import SLIDES, small_recipe, write_store
from tests.kills import kill_in_the_middle
from wsc_ray.commands import pretrain
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.files import SUMMARY, read_json
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.clusters import clusters_of
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, RunFolder
from wsc_ray.stage import write_identity
from wsc_ray.stream.clusters import CLUSTERS, write_clusters
from wsc_ray.stream.order import PURE
from wsc_ray.stream.plan import divide
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
    pure = divide(source, recipe).kinds[PURE].groups
    made = clusters_of(recipe, source, pure, run)
    run.path.mkdir()
    write_clusters(run.path / CLUSTERS, made)
    shutil.rmtree(other)
    assert clusters_of(recipe, source, pure, run).digest == made.digest
    (run.path / CLUSTERS).unlink()
    with pytest.raises(DataError, match="holds no features"):
        clusters_of(recipe, source, pure, run)


def without_features(recipe: Recipe, tmp_path: Path) -> Recipe:
    """The recipe with a folder that holds no features, so that nothing can be clustered."""
    stream = recipe.stream.model_copy(update={"features": str(tmp_path / "none")})
    return recipe.model_copy(update={"stream": stream})


def test_a_folder_that_is_taken_is_refused_before_patches_are_clustered(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    recipe = recipe_of(store, tmp_path)
    source = open_source(recipe.data)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    write_clusters(
        foreign / CLUSTERS, clusters_of(recipe, source, divide(source, recipe).kinds[PURE].groups, RunFolder(tmp_path))
    )
    recipe = without_features(recipe, tmp_path)
    with pytest.raises(RunFolderError, match=rf"is taken: it holds {CLUSTERS}"):
        pretrain(recipe=recipe, out=foreign)
    with pytest.raises(RunFolderError, match="cannot be used"):
        pretrain(recipe=recipe, out="s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1")
    with pytest.raises(DataError, match="holds no features"):
        pretrain(recipe=recipe, out=tmp_path / "new")


def test_a_run_with_other_settings_is_refused_before_patches_are_clustered(tmp_path: Path) -> None:
    store, run = write_store(tmp_path / "store"), tmp_path / "run"
    recipe = recipe_of(store, tmp_path)
    plan = pretrain(recipe=recipe, out=run, dry_run=True)
    source = open_source(recipe.data)
    identity = {
        "format": 1,
        "training": recipe.training_part(),
        "features": {"uri": str(store), "digest": source.digest},
        "cohort": divide(source, recipe).cohort,
        "clusters": plan["clusters"]["digest"],
        "start_from": None,
        "pixels": None,
    }
    write_identity(run, "pretrain", identity)
    assert pretrain(recipe=recipe, out=run, dry_run=True)["resumes"]
    write_identity(run, "pretrain", {**identity, "clusters": "0" * 64})
    with pytest.raises(RunFolderError, match="the clusters of the pure class: patches are in others now"):
        pretrain(recipe=recipe, out=run, dry_run=True)
    write_identity(run, "pretrain", identity)

    recipe = without_features(recipe, tmp_path)
    with pytest.raises(RunFolderError, match=r"stream\.clusters`: 4 there, 3 here"):
        pretrain(recipe=without_features(recipe_of(store, tmp_path, clusters=3), tmp_path), out=run)
    with pytest.raises(RunFolderError, match=r"seed`: 0 there, 1 here"):
        pretrain(recipe=recipe.model_copy(update={"seed": 1}), out=run)
    write_identity(run, "pretrain", {**identity, "cohort": "0" * 64})
    with pytest.raises(RunFolderError, match="the training slides"):
        pretrain(recipe=recipe, out=run)
    changed = recipe.training_part()
    changed["stream"]["by"] = "patch"
    write_identity(run, "pretrain", {**identity, "training": changed})
    with pytest.raises(RunFolderError, match=r"stream\.by`: patch there, cluster here"):
        pretrain(recipe=recipe, out=run)


def test_a_plan_says_how_many_patches_have_no_features(tmp_path: Path) -> None:
    store, features = write_store(tmp_path / "store"), tmp_path / "features"
    write_store(features, {slide: values for slide, values in SLIDES.items() if slide != "n0"})
    recipe = recipe_of(store, tmp_path)
    stream = {"features": str(features), "max_bad_fraction": 0.1}
    recipe = recipe.model_copy(update={"stream": recipe.stream.model_copy(update=stream)})
    plan = pretrain(recipe=recipe, out=tmp_path / "run", dry_run=True)
    (note,) = plan["notes"]
    assert note.startswith("9 of the 69 pure training patches (13.0%) have no features")
    assert plan["clusters"]["count"] == 4


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


@pytest.mark.long
def test_a_killed_run_goes_on_in_the_same_order(ray_cluster: None, tmp_path: Path) -> None:
    """SIGKILL of the whole command between two checkpoints; then the same command, against one worker that nobody disturbs."""
    store, run = write_store(tmp_path / "store"), tmp_path / "run"
    recipe = recipe_of(store, tmp_path, workers=2, epochs=4, steps_per_epoch=15, checkpoint_every=7)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    kill_in_the_middle(tmp_path / "recipe.yaml", run, after=10, steps=60)
    again = pretrain(recipe=recipe, out=run)
    alone = pretrain(
        recipe=recipe_of(store, tmp_path, workers=1, epochs=4, steps_per_epoch=15, checkpoint_every=7),
        out=tmp_path / "alone",
    )
    assert again["samples_sha256"] == alone["samples_sha256"]
    assert [line["step"] for line in metrics_file.read(run / "metrics.jsonl")] == list(range(1, 61))
