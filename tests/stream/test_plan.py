"""What a plan makes of a manifest, and what it refuses."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsc_ray.commands import manifest_import
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.sections import Recipe
from wsc_ray.stream.order import MIXED, PURE, window_picks
from wsc_ray.stream.plan import make_plan

# slide -> (patient, label, patches in the split train)
SLIDES = {
    "a": ("p", "negative", 90),
    "b": ("p", "negative", 6),
    "c": ("q", "negative", 30),
    "d": ("r", "positive", 40),
    "e": ("r", "positive", 25),
    "f": ("s", "positive", 10),
}


def table(slides=SLIDES):
    rows = [(slide, *values[:2], row) for slide, values in slides.items() for row in range(values[2])]
    slide, patient, label, number = zip(*rows, strict=True)
    columns = {"slide_id": slide, "patient_id": patient, "label": label, "x": number, "y": number}
    constants = {"split": "train", "patch_size": 8, "level": 0, "mpp": 0.5, "image": b"x"}
    return pa.table({**columns, **{name: [value] * len(rows) for name, value in constants.items()}})


@pytest.fixture
def uneven(tmp_path):
    pq.write_table(table(), tmp_path / "raw.parquet")
    manifest_import(source=tmp_path / "raw.parquet", out=tmp_path / "m", row_group_rows=16, file_rows=48)
    return tmp_path / "m"


def plan_of(uri, *, by="patch", **train):
    values = {
        "data": {"manifest": str(uri)},
        "stream": {"sampling": "epoch", "shards": 4, "window": 3, "by": by},
        "train": {"epochs": 2, "batch_size": 16, "steps_per_epoch": None, **train},
    }
    manifest = open_manifest(str(uri))
    return manifest, make_plan(manifest, Recipe.model_validate(values))


def epoch_of(manifest, plan, kind):
    """(slide, x) of every patch that the class gives to the first epoch."""
    order = plan.geometry
    picks = np.concatenate(
        [
            step
            for window in range(order.windows)
            for step in window_picks(order, plan.lines(kind), kind, 0, window, range(order.shards))
        ]
    )
    found = []
    for group, row in picks.tolist():
        where = plan.groups[kind][group]
        rows = manifest.read_group(where.file, where.row_group, ["slide_id", "x", "label"]).slice(row, 1).to_pylist()
        assert rows[0]["label"] == plan.labels[where.label]
        found.append((rows[0]["slide_id"], rows[0]["x"]))
    return found


def slides_of(label):
    return {slide: rows for slide, (_, its, rows) in SLIDES.items() if its == label}


def test_an_epoch_is_each_patch_of_the_larger_class_once(uneven):
    manifest, plan = plan_of(uneven)
    assert plan.geometry.steps == 16
    assert plan.geometry.rest == 126 % 8
    assert (plan.patches(PURE), plan.patches(MIXED)) == (126, 75)
    assert sorted(epoch_of(manifest, plan, PURE)) == sorted(
        (slide, row) for slide, rows in slides_of("negative").items() for row in range(rows)
    )
    assert len(epoch_of(manifest, plan, MIXED)) == 126


def test_patches_are_counted_up_to_any_step(uneven):
    _, plan = plan_of(uneven)
    sizes = [2 * plan.geometry.size(step % plan.geometry.steps) for step in range(plan.total_steps)]
    assert [plan.patches_until(step) for step in range(plan.total_steps + 1)] == [0, *np.cumsum(sizes)]
    assert plan.patches_until(plan.geometry.steps) == 2 * 126


@pytest.mark.parametrize(
    ("by", "pure"), [("slide", {"a": 42, "b": 42, "c": 42}), ("patient", {"a": 59, "b": 4, "c": 63})]
)
def test_slides_or_patients_weigh_the_same(uneven, by, pure):
    manifest, plan = plan_of(uneven, by=by)
    epoch = epoch_of(manifest, plan, PURE)
    assert len(epoch) == plan.geometry.patches == 126
    shown = {slide: sum(one == slide for one, _ in epoch) for slide in pure}
    if by == "slide":
        assert shown == pure
    else:  # a patient's slides take turns a run at a time, so their shares are near their patches' and no more
        assert shown["c"] == pure["c"]
        assert shown["a"] + shown["b"] == 63
        assert abs(shown["a"] - pure["a"]) <= 4
    for slide, rows in slides_of("negative").items():
        rows_shown = np.bincount([x for one, x in epoch if one == slide], minlength=rows)
        assert by == "patient" or np.ptp(rows_shown) <= 1


def test_explicit_steps_are_full(uneven):
    _, plan = plan_of(uneven, steps_per_epoch=5)
    assert (plan.geometry.steps, plan.geometry.rest, plan.total_steps) == (5, 0, 10)


def test_a_plan_is_small_to_send(uneven):
    _, plan = plan_of(uneven)
    again = pickle.loads(pickle.dumps(plan))  # noqa: S301
    assert len(again.groups[PURE]) == 8
    assert [*again.groups[PURE]] == [*plan.groups[PURE]]
    assert again.groups[PURE][0].rows == 16
    for one, other in zip(again.classes, plan.classes, strict=True):
        np.testing.assert_array_equal(one.group, other.group)


def test_fewer_patches_than_half_a_batch(uneven):
    with pytest.raises(DataError, match=r"fewer than half a batch; set train\.batch_size to 252 or less"):
        plan_of(uneven, batch_size=256)
    _, plan = plan_of(uneven, batch_size=240)  # between half a batch and a batch
    assert [plan.geometry.size(step) for step in range(plan.geometry.steps)] == [63, 63]


def test_a_worker_that_a_short_step_would_leave_without_a_patch(uneven):
    with pytest.raises(
        DataError, match=r"a step of 3 .* 4 workers; set train\.workers to 2 or less, or train\.steps_per_epoch to 31"
    ):
        plan_of(uneven, batch_size=8, workers=4)
    plan_of(uneven, batch_size=8, workers=2)
    plan_of(uneven, batch_size=8, workers=4, steps_per_epoch=31)


def test_files_of_other_origin_weigh_slides_where_their_statistics_tell_them(tmp_path):
    for number, slide in enumerate(SLIDES):
        (tmp_path / "own").mkdir(exist_ok=True)
        pq.write_table(table({slide: SLIDES[slide]}), tmp_path / "own" / f"{number}.parquet")
    manifest, plan = plan_of(tmp_path / "own", by="slide")
    assert {slide for slide, _ in epoch_of(manifest, plan, MIXED)} == {"d", "e", "f"}
    plan_of(tmp_path / "own", by="patient")
    both = {name: SLIDES[name] for name in ("a", "b")}
    (tmp_path / "mixed").mkdir()
    pq.write_table(table(both), tmp_path / "mixed" / "0.parquet")
    pq.write_table(table({"d": SLIDES["d"]}), tmp_path / "mixed" / "1.parquet")
    plan_of(tmp_path / "mixed")
    with pytest.raises(ManifestError, match=r"does not tell .* slide_id .* import` writes it anew"):
        plan_of(tmp_path / "mixed", by="slide")
