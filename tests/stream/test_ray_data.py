"""The stream through Ray: every step in its order, and reading that waits for training."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from tests.broken import import_table
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.ray_data import by_step, worker_batches
from wsc_ray.stream.ray_pace import start_pace
from wsc_ray.stream.read import read_window
from wsc_ray.stream.readers import Readers


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 2, 1, 5)])
@pytest.mark.parametrize("block", [1, 3, 4, 7, 100])
def test_blocks_become_steps_wherever_they_were_cut(sizes, block):
    step = np.repeat(np.arange(len(sizes)) + 7, sizes)
    rows = {"step": step, "position": np.arange(len(step)), "views": np.arange(2 * len(step)).reshape(-1, 2)}
    blocks = ({name: values[at : at + block] for name, values in rows.items()} for at in range(0, len(step), block))
    steps = list(by_step(blocks))
    assert [len(batch["step"]) for batch in steps] == list(sizes)
    assert [batch["step"].tolist() for batch in steps] == [[7 + n] * size for n, size in enumerate(sizes)]
    for name, values in rows.items():
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in steps]), values)


def test_no_blocks_are_no_steps():
    assert list(by_step([])) == []


def test_a_reader_waits_until_training_is_there(ray_cluster):
    pace = start_pace(3)
    ray.get(pace.until.remote(3))
    waiting = pace.until.remote(6)
    for step in (1, 5):
        ray.get(pace.reach.remote(step))
    assert ray.wait([waiting], timeout=0.5)[0] == []
    ray.get(pace.reach.remote(7))
    ray.get(waiting, timeout=10)


@pytest.mark.parametrize(("window", "first_step"), [(1, 0), (3, 105)])
def test_the_batches_are_the_plans_however_short_the_windows(settings, ray_cluster, window, first_step):
    settings["stream"]["window"] = window
    settings["train"]["epochs"] = 2 if first_step == 0 else 28  # resumed far from the start, near the end
    recipe = validate_recipe(settings)
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)
    arguments = {"rank": 1, "world_size": 2, "first_step": first_step, "readers": Readers(2)}
    found = list(worker_batches(plan, manifest, recipe.augment, **arguments))
    expected = [
        batch
        for epoch in range(plan.epochs)
        for number in range(plan.geometry.windows)
        for batch in read_window(
            plan, manifest, recipe.augment, epoch=epoch, window=number, shards=range(2, 4), first_step=first_step
        )
    ]
    assert [int(batch["step"][0]) for batch in found] == list(range(first_step, plan.total_steps))
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_patches_of_several_sizes_come_whole_where_the_device_augments(settings, cohort, tmp_path, ray_cluster):
    table = pq.read_table(cohort)
    side = [48 + 16 * (n % 3) for n in range(table.num_rows)]
    images = pa.array([resized(image, size) for image, size in zip(table["image"].to_pylist(), side, strict=True)])
    table = table.set_column(table.schema.get_field_index("image"), "image", images)
    sizes = dict(
        zip(zip(*(table[name].to_pylist() for name in ("slide_id", "x", "y")), strict=True), side, strict=True)
    )
    settings["data"]["manifest"] = str(import_table(table, tmp_path))
    settings["stream"]["augment_on"] = "device"
    recipe = validate_recipe(settings)
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)
    steps = 0
    arguments = {"rank": 0, "world_size": 1, "first_step": 0, "readers": Readers(), "stream": recipe.stream}
    for batch in worker_batches(plan, manifest, recipe.augment, **arguments):
        steps += 1
        found = [sizes[row] for row in zip(*(batch[name].tolist() for name in ("slide_id", "x", "y")), strict=True)]
        assert batch["images"].shape == (16, max(found), max(found), 3)
        assert batch["images"].dtype == np.uint8
        for image, size in zip(batch["images"], found, strict=True):
            assert image[:size, :size].min() > 0
            assert not image[size:].any()
            assert not image[:, size:].any()
    assert steps == plan.total_steps


def resized(image, size):
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    picture = np.maximum(cv2.resize(picture, (size, size)), 8)  # black is what padding is
    return cv2.imencode(".png", picture)[1].tobytes()
