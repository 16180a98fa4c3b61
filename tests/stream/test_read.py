"""Windows read from a real manifest, without Ray."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe_file import validate_recipe
from wsc_ray.stream.order import worker_shards
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window


@pytest.fixture
def stream(settings):
    recipe = validate_recipe(settings)
    manifest = open_manifest(recipe.data.manifest)
    plan = make_plan(manifest, recipe)

    def read(workers=1, first_step=0):
        """Every step's global batch, workers put together: a list of dictionaries."""
        steps = {}
        for epoch in range(plan.epochs):
            for window in range(plan.geometry.windows):
                for rank in range(workers):
                    shards = worker_shards(plan.geometry.shards, rank, workers)
                    for batch in read_window(
                        plan, manifest, recipe.augment, epoch=epoch, window=window, shards=shards, first_step=first_step
                    ):
                        steps.setdefault(int(batch["step"][0]), []).append(batch)
        return {step: {k: np.concatenate([b[k] for b in parts]) for k in parts[0]} for step, parts in steps.items()}

    return read


def digest(steps):
    found = hashlib.sha256()
    for step in sorted(steps):
        batch = steps[step]
        for row in np.argsort(batch["position"]):
            found.update(f"{batch['slide_id'][row]} {batch['x'][row]} {batch['y'][row]}".encode())
            found.update(batch["views"][row].tobytes())
    return found.hexdigest()


def test_a_batch_is_half_pure_and_half_mixed_and_never_looks_at_other_splits(stream, cohort):
    raw = pq.read_table(cohort).to_pandas().drop_duplicates("slide_id").set_index("slide_id")
    for step, batch in stream().items():
        assert batch["views"].shape == (16, 2, 32, 32, 3)
        assert sorted(batch["position"]) == list(range(16))
        assert (batch["step"] == step).all()
        np.testing.assert_array_equal(batch["label"], raw.loc[batch["slide_id"], "slide_label"])
        np.testing.assert_array_equal(batch["label"], batch["position"] >= 8)
        assert set(raw.loc[batch["slide_id"], "split"]) == {"train"}


def test_one_two_and_four_workers_see_the_same_patches_and_views(stream):
    assert digest(stream(1)) == digest(stream(2)) == digest(stream(4))


def test_a_resumed_stream_is_the_rest_of_the_whole_one(stream):
    whole = stream()
    rest = stream(first_step=5)
    assert sorted(rest) == [5, 6, 7]
    assert digest(rest) == digest({step: whole[step] for step in rest})


def test_splits_and_labels_that_are_not_there(settings):
    manifest = open_manifest(settings["data"]["manifest"])
    for change, said in [
        ({"train_split": "fit"}, "split 'fit' of .* is empty; the manifest's splits are: test, train, val"),
        ({"pure": ["benign"]}, "no patch of a pure label"),
        ({"mixed": ["tumour"]}, "no patch labelled tumour"),
    ]:
        changed = {**settings, "data": {**settings["data"], **change}}
        with pytest.raises(DataError, match=said):
            make_plan(manifest, validate_recipe(changed))
    settings["train"] |= {"steps_per_epoch": None, "batch_size": 1024}
    with pytest.raises(DataError, match=r"set train\.batch_size to"):
        make_plan(manifest, validate_recipe(settings))
