"""Windows read from a real manifest, without Ray."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.broken import damaged, import_table, names, random_rows
from wsc_ray.errors import DataError
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import MIXED, PURE, window_picks, worker_shards
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.quarantine import from_json
from wsc_ray.stream.read import read_window


class Stream:
    """All of a run, without Ray."""

    def __init__(self, settings):
        self.recipe = validate_recipe(settings)
        self.manifest = open_manifest(self.recipe.data.manifest)
        self.plan = make_plan(self.manifest, self.recipe)

    def __call__(self, workers=1, first_step=0, manifest=None):
        """Every step's global batch, workers put together: a list of dictionaries."""
        steps = {}
        for epoch in range(self.plan.epochs):
            for window in range(self.plan.geometry.windows):
                for rank in range(workers):
                    for batch in read_window(
                        self.plan,
                        manifest or self.manifest,
                        self.recipe.augment,
                        epoch=epoch,
                        window=window,
                        shards=worker_shards(self.plan.geometry.shards, rank, workers),
                        first_step=first_step,
                        stream=self.recipe.stream,
                    ):
                        steps.setdefault(int(batch["step"][0]), []).append(batch)
        return {step: {k: np.concatenate([b[k] for b in parts]) for k in parts[0]} for step, parts in steps.items()}


@pytest.fixture
def stream(settings):
    return Stream(settings)


class SlideGrid:
    """A manifest that remembers which row groups were read."""

    def __init__(self, manifest):
        self.manifest, self.groups = manifest, set()

    def __getattr__(self, name):
        return getattr(self.manifest, name)

    def read_group(self, file, row_group, columns=None):
        self.groups.add((file, row_group))
        return self.manifest.read_group(file, row_group, columns)


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


def test_nothing_before_the_step_that_a_run_resumes_at_is_read(stream):
    plan, looked = stream.plan, SlideGrid(stream.manifest)
    stream(first_step=5, manifest=looked)  # inside a window
    geometry, needed = plan.geometry, set()
    for kind in (PURE, MIXED):
        for epoch in range(plan.epochs):
            for window in range(geometry.windows):
                picks = window_picks(geometry, plan.orders[kind], kind, epoch, window, range(geometry.shards))
                for step, picked in zip(geometry.window_steps(window), picks, strict=True):
                    if epoch * geometry.steps + step >= 5:
                        groups = [plan.groups[kind][group] for group in picked[:, 0].tolist()]
                        needed |= {(group.file, group.row_group) for group in groups}
    assert looked.groups == needed
    everything = SlideGrid(stream.manifest)
    stream(manifest=everything)
    assert needed < everything.groups


@pytest.fixture
def broken(settings, cohort, tmp_path):
    """A stream in which a tenth of the training images are damaged, and which they are."""
    table = pq.read_table(cohort)
    rows = random_rows(table, 0.1)
    settings["data"]["manifest"] = str(import_table(damaged(table, rows), tmp_path))
    settings["stream"] |= {"max_bad_fraction": 0.2, "retries": 0}
    settings["train"] |= {"steps_per_epoch": None, "epochs": 1}
    return Stream(settings), names(table, rows)


def told(steps):
    """Everything that the batches say was bad, with the first step that says so."""
    found = {}
    for step in sorted(steps):
        for text in steps[step]["bad"]:
            for bad in from_json(text):
                found.setdefault((bad.slide_id, bad.x, bad.y), (step, bad))
    return found


def test_broken_images_are_reported_and_replaced_alike_for_any_number_of_workers(broken):
    read, damage = broken
    whole = read()
    assert set(told(whole)) == damage
    for workers in (2, 4):
        parts = read(workers)
        assert digest(parts) == digest(whole)
        assert told(parts) == told(whole)
    fed = {
        (s, x, y)
        for batch in whole.values()
        for s, x, y in zip(*(batch[k] for k in ("slide_id", "x", "y")), strict=True)
    }
    assert not fed & damage
    assert all(batch["views"].any(axis=(1, 2, 3, 4)).all() for batch in whole.values())


def test_a_replaced_patch_keeps_its_place_and_its_class_and_changes_no_other(broken, settings, manifest):
    read, damage = broken
    settings["data"]["manifest"] = str(manifest)
    whole, mended = read(), Stream(settings)()
    for step, batch in whole.items():
        other = mended[step]
        for name in ("position", "label", "parameters"):
            np.testing.assert_array_equal(batch[name], other[name])
        places = zip(*(other[name] for name in ("slide_id", "x", "y")), strict=True)
        was_bad = np.array([place in damage for place in places])
        replaced = (batch["views"] != other["views"]).any(axis=(1, 2, 3, 4))
        np.testing.assert_array_equal(replaced, was_bad)


def test_a_resumed_stream_replaces_alike(broken):
    read, _ = broken
    whole = read()
    rest = read(first_step=5)
    assert digest(rest) == digest({step: whole[step] for step in rest})
    assert set(told(rest)) >= {place for place, (step, _) in told(whole).items() if step >= 5}


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
