"""Clusters of the pure class: what they are, how they are drawn, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.feature_files.stores import write_store
from tests.stream.test_plan import SLIDES, table
from wsc_ray.commands import manifest_import
from wsc_ray.errors import DataError, RecipeError, RunFolderError
from wsc_ray.features.store import SlideFeatures, write_slide, write_slides
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import absolute_paths, validate_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream import clusters
from wsc_ray.stream.cluster_features import read_places
from wsc_ray.stream.clusters import CLUSTERS, LACKING, Clusters, cluster_patches, read_clusters, write_clusters
from wsc_ray.stream.groups import Groups
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.plan import Plan, divide, make_plan, plan_of
from wsc_ray.stream.source import Source, open_source

RARE = 9  # every ninth patch of a slide is of a rare kind


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    pq.write_table(table(), tmp_path / "raw.parquet")
    manifest_import(source=tmp_path / "raw.parquet", out=tmp_path / "m", row_group_rows=16, file_rows=48)
    return tmp_path / "m"


def kinds_of(rows: int) -> np.ndarray:
    return np.where(np.arange(rows) % RARE == 0, 1, 0)


def features_for(folder: Path, *, without: str = "", shuffled: bool = True, keep: int | None = None) -> Path:
    """Features of two kinds, far apart, whose rows are in another order than the manifest's."""
    rng, rows = np.random.default_rng(0), []
    for slide, (_, _, patches) in SLIDES.items():
        if slide == without:
            continue
        values = rng.normal(size=(patches, 5)) * 0.1
        values[np.arange(patches), kinds_of(patches)] += 1
        order = rng.permutation(patches)[:keep] if shuffled else np.arange(patches)
        coords = np.stack([np.arange(patches)] * 2, 1)  # the table's y is its x
        write_slide(
            folder,
            SlideFeatures(slide, values[order].astype(np.float32), coords[order]),
            attributes={},
            coords_attributes={},
        )
        rows.append((slide, slide, len(order)))
    names = ("slide_id", "patient_id", "patches")
    write_slides(folder, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))
    return folder


def recipe_of(manifest: Path, features: Path, *, clusters: int = 2, **stream: object) -> Recipe:
    return validate_recipe(
        {
            "data": {"manifest": str(manifest)},
            "stream": {
                "sampling": "epoch",
                "shards": 4,
                "window": 3,
                "by": "cluster",
                "clusters": clusters,
                "features": str(features),
                **stream,
            },
            "train": {"epochs": 2, "batch_size": 16, "steps_per_epoch": None},
        }
    )


def found_of(manifest: Path, features: Path, count: int = 2, seed: int = 0, bad: float = 0.0) -> Clusters:
    source = open_manifest(str(manifest))
    groups = divide(source, recipe_of(manifest, features)).kinds[PURE].groups
    return cluster_patches(source, groups, features, count, seed, max_bad_fraction=bad)


def planned(source: Source, recipe: Recipe, found: Clusters) -> Plan:
    return plan_of(divide(source, recipe), recipe, found.numbers)


def picks(plan: Plan, kind: int, shards: list[range]) -> list[np.ndarray]:
    """The patches of each step of the first epoch, joined over workers' shards."""
    steps = []
    for window in range(plan.geometry.windows):
        parts = [window_picks(plan.geometry, plan.orders[kind], kind, 0, window, some) for some in shards]
        steps += [np.concatenate(step) for step in zip(*parts, strict=True)]
    return steps


def test_kinds_that_lie_apart_are_clusters_whatever_the_order_of_the_features(manifest: Path, tmp_path: Path) -> None:
    found = found_of(manifest, features_for(tmp_path / "f"))
    rows = found.table.to_pylist()
    assert {row["slide_id"] for row in rows} == {"a", "b", "c"}  # the pure slides
    assert len(rows) == 126
    (rare,) = {row["cluster"] for row in rows if row["x"] % RARE == 0}
    (common,) = {row["cluster"] for row in rows if row["x"] % RARE}
    assert rare != common
    assert found.counts() == {"count": 2, "smallest": 15, "largest": 111}
    assert found.digest == found_of(manifest, tmp_path / "f").digest


def test_both_kinds_are_drawn_equally_often_and_the_mixed_class_as_before(manifest: Path, tmp_path: Path) -> None:
    found = found_of(manifest, features_for(tmp_path / "f"))
    source, recipe = open_manifest(str(manifest)), recipe_of(manifest, tmp_path / "f")
    plan = planned(source, recipe, found)
    offsets = np.cumsum([0, *plan.groups[PURE].rows])
    drawn = np.concatenate(picks(plan, PURE, [range(4)]))
    numbers = found.numbers[offsets[drawn[:, 0]] + drawn[:, 1]]
    shares = np.bincount(numbers) / len(numbers)
    assert shares == pytest.approx([0.5, 0.5], abs=0.08)
    rare = drawn[numbers == numbers.min() + int(np.bincount(found.numbers).argmin())]
    assert len(np.unique(rare, axis=0)) == 15  # every rare patch is shown
    by_patch = make_plan(source, recipe.model_copy(update={"stream": recipe.stream.model_copy(update={"by": "patch"})}))
    for one, other in zip(picks(plan, MIXED, [range(4)]), picks(by_patch, MIXED, [range(4)]), strict=False):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sampling", ["epoch", "replacement"])
def test_any_number_of_workers_sees_the_same_batches(manifest: Path, tmp_path: Path, sampling: str) -> None:
    found = found_of(manifest, features_for(tmp_path / "f"))
    recipe = recipe_of(manifest, tmp_path / "f", sampling="epoch")
    values = recipe.model_dump()
    values["stream"]["sampling"], values["train"]["steps_per_epoch"] = sampling, 7
    plan = planned(open_manifest(str(manifest)), Recipe.model_validate(values), found)
    for kind in (PURE, MIXED):
        whole = picks(plan, kind, [range(4)])
        for shards in ([range(2), range(2, 4)], [range(1), range(1, 2), range(2, 4)]):
            for one, other in zip(whole, picks(plan, kind, shards), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_row_group_with_a_slide_that_is_left_out_keeps_its_rows_apart(manifest: Path, tmp_path: Path) -> None:
    """The class is then a part of a row group, whose first row is not 0."""
    rows = [
        f"{slide},{split},{label}"
        for slide, split, label in [("b", "train", "negative"), ("c", "train", "negative"), ("d", "train", "positive")]
    ]
    (tmp_path / "cohort.csv").write_text("\n".join(["slide_id,split,label", *rows]) + "\n")
    recipe = recipe_of(manifest, features_for(tmp_path / "f"))
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"cohort": str(tmp_path / "cohort.csv")})})
    source = open_manifest(str(manifest))
    groups = divide(source, recipe).kinds[PURE].groups
    found = cluster_patches(source, groups, tmp_path / "f", 2, 0)
    plan = planned(source, recipe, found)
    names = found.table.to_pylist()
    assert sorted((row["slide_id"], row["x"]) for row in names) == sorted(
        [*(("b", x) for x in range(6)), *(("c", x) for x in range(30))]
    )
    offsets = np.cumsum([0, *groups.rows])
    for group, row in np.unique(np.concatenate(picks(plan, PURE, [range(4)])), axis=0).tolist():
        place = plan.groups[PURE][group]
        read = (
            source.read_group(place.file, place.row_group, ["slide_id", "x"]).slice(place.start + row, 1).to_pylist()[0]
        )
        assert read.items() <= names[offsets[group] + row].items()


def test_what_does_not_fit_is_a_sentence(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 6 of the 126 pure training patches .* at 0,0 of slide b"):
        found_of(manifest, features_for(tmp_path / "other", without="b"))
    with pytest.raises(DataError, match=r"at least 70 of the 126 .* such as the one at \d+,\d+ of slide a"):
        found_of(manifest, features_for(tmp_path / "few", keep=20))
    whole = features_for(tmp_path / "f", shuffled=False)
    with pytest.raises(DataError, match="126 patches, fewer than the 127 clusters"):
        found_of(manifest, whole, 127)
    assert found_of(manifest, whole, 126).counts()["count"] == 126
    (whole / "b.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="features of slide b cannot be read"):
        found_of(manifest, whole)
    (whole / "b.h5").unlink()
    with pytest.raises(DataError, match="features of slide b are missing"):
        found_of(manifest, whole)
    with pytest.raises(DataError, match="holds no features"):
        found_of(manifest, tmp_path / "none")


def test_nothing_but_finite_features_is_clustered(manifest: Path, tmp_path: Path) -> None:
    folder = features_for(tmp_path / "f")
    coords = np.stack([np.arange(6)] * 2, 1)
    for values, why in (
        (np.full((6, 5), np.nan), "not all finite"),
        (np.zeros((6, 5)), "all zero"),
        (np.ones((6, 4)), "one encoder"),
    ):
        write_slide(folder, SlideFeatures("b", values.astype(np.float32), coords), attributes={}, coords_attributes={})
        with pytest.raises(DataError, match=why):
            found_of(manifest, folder)
    twice = np.zeros((6, 2), np.int64)
    write_slide(folder, SlideFeatures("b", np.ones((6, 5), np.float32), twice), attributes={}, coords_attributes={})
    with pytest.raises(DataError, match="several patches of slide b at one place"):
        found_of(manifest, folder)


def test_few_patches_without_features_are_a_cluster_of_their_own(manifest: Path, tmp_path: Path) -> None:
    """A slide may be missing from the features, and `pretrain` tolerates a few patches of such slides."""
    features = features_for(tmp_path / "f", without="b")
    found = found_of(manifest, features, bad=0.02)  # 2.5 of 126 and three standard deviations: 7 patches
    rows = found.table.to_pylist()
    assert {row["slide_id"] for row in rows if row["cluster"] == LACKING} == {"b"}
    assert {row["slide_id"] for row in rows if row["cluster"] != LACKING} == {"a", "c"}
    assert found.counts() == {"count": 2, "smallest": 14, "largest": 106}
    (note,) = found.notes
    assert note.startswith("6 of the 126 pure training patches (4.8%) have no features")
    assert found_of(manifest, features_for(tmp_path / "whole"), bad=0.02).notes == ()
    plan = planned(open_manifest(str(manifest)), recipe_of(manifest, features), found)
    assert sorted(plan.orders[PURE].sizes.tolist()) == [6, 14, 106]
    write_clusters(tmp_path / CLUSTERS, found)
    assert read_clusters(tmp_path / CLUSTERS, 126).notes == found.notes

    with pytest.raises(DataError) as error:
        found_of(manifest, features, bad=0.01)
    for words in ("6 of the 126", "4.8%", "stream.max_bad_fraction allows 0.01", "embed them", "data.cohort"):
        assert words in str(error.value)
    with pytest.raises(DataError, match="has 120 patches with features, fewer than the 121 clusters"):
        found_of(manifest, features, 121, bad=0.02)


def test_patches_that_a_slide_lacks_are_counted_too(manifest: Path, tmp_path: Path) -> None:
    features = features_for(tmp_path / "f")
    coords = np.stack([np.arange(1, 6)] * 2, 1)
    write_slide(features, SlideFeatures("b", np.eye(5, dtype=np.float32), coords), attributes={}, coords_attributes={})
    found = found_of(manifest, features, bad=0.01)
    lacking = [(row["slide_id"], row["x"]) for row in found.table.to_pylist() if row["cluster"] == LACKING]
    assert lacking == [("b", 0)]
    with pytest.raises(DataError, match=r"at least 1 of the 126 .* at 0,0 of slide b"):
        found_of(manifest, features)


def test_names_of_slides_are_kept_once(manifest: Path, tmp_path: Path) -> None:
    """An array of strings ends at 2 GiB, which 100 M patches with names of 22 letters exceed."""
    table = found_of(manifest, features_for(tmp_path / "f")).table
    column = table["slide_id"]
    assert pa.types.is_dictionary(column.type)
    assert sum(len(chunk.dictionary) for chunk in column.chunks) == 3
    rows = table.to_pylist()
    digest = hashlib.sha256("".join(f"{row['slide_id']}\0" for row in rows).encode())
    for name in ("x", "y", "cluster"):
        digest.update(np.array([row[name] for row in rows], "<i8").tobytes())
    assert Clusters(table).digest == digest.hexdigest()
    halves = pa.concat_tables([table.slice(0, 50), table.slice(50)])
    assert Clusters(halves).digest == digest.hexdigest(), "however the file is cut into chunks"


class LongNames:
    """A source of 40 groups, in which every row has a name of 8 MiB: 10 GiB as strings."""

    name = "s" * 2**23

    def read_group(self, file: int, group: int, columns: list[str]) -> pa.Table:
        x = np.arange(32) + 32 * group
        names = ["another", self.name + str(group % 2)]
        slide = pa.DictionaryArray.from_arrays(np.ones(32, np.int32), names)
        return pa.table({"slide_id": slide, "x": x, "y": x})


def test_names_of_more_than_two_gigabytes_are_read() -> None:
    groups = Groups(np.array([(0, number, 0, 32, 0) for number in range(40)]))
    places = read_places(LongNames(), groups)  # type: ignore[arg-type]
    assert [len(slide) for slide in places.slides] == [2**23 + 1] * 2
    assert [len(rows) for rows in places.rows_by_slide().values()] == [640, 640]
    np.testing.assert_array_equal(places.coords[:, 0], np.arange(1280))


def test_what_k_means_sees_is_bounded(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = features_for(tmp_path / "f")
    seen = []

    def centres(vectors: np.ndarray, *values: int) -> np.ndarray:
        seen.append(vectors.shape)
        return original(vectors, *values)

    original = clusters._centres
    monkeypatch.setattr(clusters, "_centres", centres)
    for sample in (100_000, 50):
        monkeypatch.setattr(clusters, "SAMPLE", sample)
        assert found_of(manifest, features).counts()["count"] == 2
    assert seen == [(126, 5), (50, 5)]
    with pytest.raises(RecipeError, match="less than or equal to 1000, not 1001"):
        recipe_of(manifest, features, clusters=1001)


def test_the_kept_file_is_what_a_run_reads(manifest: Path, tmp_path: Path) -> None:
    found = found_of(manifest, features_for(tmp_path / "f"))
    write_clusters(tmp_path / CLUSTERS, found)
    again = read_clusters(tmp_path / CLUSTERS, 126)
    assert again.digest == found.digest
    np.testing.assert_array_equal(again.numbers, found.numbers)
    with pytest.raises(RunFolderError, match="has the clusters of 126 patches, and the pure class now has 125"):
        read_clusters(tmp_path / CLUSTERS, 125)
    data = bytearray((tmp_path / CLUSTERS).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / CLUSTERS).write_bytes(bytes(data))
    with pytest.raises(RunFolderError, match="delete it, and the same command makes it again"):
        read_clusters(tmp_path / CLUSTERS, 126)


def test_another_process_with_more_threads_finds_the_same(manifest: Path, tmp_path: Path) -> None:
    found = found_of(manifest, features_for(tmp_path / "f"), 7)
    code = (
        "import sys; from pathlib import Path; from tests.stream.test_clusters import found_of; "
        "print(found_of(Path(sys.argv[1]), Path(sys.argv[2]), 7).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(manifest), str(tmp_path / "f")],
        env={"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == found.digest


def test_a_feature_store_clusters_its_own_features(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    values = {"data": {"features": str(store)}, "encoder": {"backbone": "mlp", "weights": "random"}}
    recipe = validate_recipe(
        {**values, "stream": {"by": "cluster", "clusters": 3, "shards": 4}, "train": {"batch_size": 16}}
    )
    source = open_source(recipe.data)
    found = cluster_patches(source, divide(source, recipe).kinds[PURE].groups, store, 3, 0)
    plan = planned(source, recipe, found)
    assert plan.orders[PURE].sizes.tolist() == np.bincount(found.numbers).tolist()
    assert plan.orders[MIXED].sizes.sum() == plan.patches(MIXED)


def test_a_recipe_names_the_features_to_cluster() -> None:
    values = {"data": {"manifest": "m"}, "stream": {"by": "cluster"}}
    with pytest.raises(RecipeError, match=r"stream\.features`: missing; by: cluster needs features"):
        validate_recipe(values)
    with pytest.raises(RecipeError, match="only by: cluster uses it"):
        validate_recipe({"data": {"manifest": "m"}, "stream": {"features": "f"}})
    with pytest.raises(RecipeError, match="greater than or equal to 2, not 1"):
        validate_recipe({"data": {"manifest": "m"}, "stream": {"by": "cluster", "features": "f", "clusters": 1}})
    recipe = validate_recipe({"data": {"manifest": "m"}, "stream": {"by": "cluster", "features": "f"}})
    assert absolute_paths(recipe).stream.features == str(Path("f").absolute())
    assert recipe.training_part()["stream"]["clusters"] == 64
    assert "features" not in recipe.training_part()["stream"]
    by_patch = validate_recipe({"data": {"manifest": "m"}})
    assert set(by_patch.training_part()["stream"]) == {"sampling", "by", "shards", "window", "augment_on"}
