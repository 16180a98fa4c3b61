"""Plans made from manifests, and the mistakes that `make_plan` refuses."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsc_ray.cohort import choose_slides
from wsc_ray.commands import manifest_import
from wsc_ray.errors import DataError, UserError
from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.sections import Data, Recipe
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
# slide -> (grade, split); f is left out
GRADES = {
    "a": ("low", "train"),
    "b": ("high", "train"),
    "c": ("low", "test"),
    "d": ("middle", "train"),
    "e": ("low", "train"),
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


DATA = Data()


def plan_of(uri, *, by="patch", data=None, **train):
    values = {
        "data": {"manifest": str(uri), **(data or {})},
        "stream": {"sampling": "epoch", "shards": 4, "window": 3, "by": by},
        "train": {"epochs": 2, "batch_size": 16, "steps_per_epoch": None, **train},
    }
    manifest = open_manifest(str(uri))
    return manifest, make_plan(manifest, Recipe.model_validate(values))


def epoch_of(manifest, plan, kind, data=DATA):
    """(slide, x) of every patch that the class gives to the first epoch."""
    order = plan.geometry
    picks = np.concatenate(
        [
            step
            for window in range(order.windows)
            for step in window_picks(order, plan.orders[kind], kind, 0, window, range(order.shards))
        ]
    )
    found = []
    cohort = choose_slides(manifest.cohort(), data).slides
    label_of = dict(zip(cohort["slide_id"].to_pylist(), cohort["label"].to_pylist(), strict=True))
    for group, row in picks.tolist():
        where = plan.groups[kind][group]
        rows = (
            manifest.read_group(where.file, where.row_group, ["slide_id", "x"]).slice(where.start + row, 1).to_pylist()
        )
        assert label_of[rows[0]["slide_id"]] == plan.labels[where.label]
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
    for one, other in zip(again.orders, plan.orders, strict=True):
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


def test_files_of_other_programs_weigh_slides_where_their_statistics_name_them(tmp_path):
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
    manifest, plan = plan_of(tmp_path / "mixed", by="slide")  # the footers do not tell: the rows do
    assert {slide for slide, _ in epoch_of(manifest, plan, PURE)} == {"a", "b"}


def test_another_target_and_splits_over_the_same_patches(uneven, tmp_path):
    """A CSV gives other labels and another split to slides whose row groups then hold both classes, and some of neither."""
    (tmp_path / "grades.csv").write_text(
        "slide_id,grade,fold_0\n" + "".join(f"{s},{g},{f}\n" for s, (g, f) in GRADES.items())
    )
    data = {"cohort": str(tmp_path / "grades.csv"), "target": "grade", "split_column": "fold_0", "pure": ["low"]}
    digests = [path.read_bytes() for path in sorted(uneven.rglob("*.parquet"))]
    for by in ("patch", "slide", "patient"):
        manifest, plan = plan_of(uneven, by=by, data=data)
        assert plan.labels == ("low", "high", "middle")
        assert plan.notes == (
            f"slides of {manifest.cohort().name} that {data['cohort']} does not list and that take no part: 1",
        )
        chosen = Data(**data)
        for kind, grades in ((PURE, {"low"}), (MIXED, {"high", "middle"})):
            epoch = epoch_of(manifest, plan, kind, chosen)
            wanted = {slide for slide, (grade, fold) in GRADES.items() if fold == "train" and grade in grades}
            assert {slide for slide, _ in epoch} == wanted
            assert plan.patches(kind) == sum(SLIDES[slide][2] for slide in wanted)
            if by == "patch" and plan.patches(kind) == plan.geometry.patches:
                assert len(set(epoch)) == len(epoch)
    assert digests == [path.read_bytes() for path in sorted(uneven.rglob("*.parquet"))]
    same, _ = plan_of(uneven), plan_of(uneven)
    assert same[1].cohort != plan.cohort


@pytest.mark.parametrize(
    ("lines", "settings", "said"),
    [
        ("slide_id,grade\na,x", {"target": "grad"}, r"no column `grad`, did you mean `grade`\?"),
        ("slide_id,grade\nz,x", {}, "lists none of the slides"),
        ("slide,grade\na,x", {}, "neither a column `slide_id` nor `patient_id`"),
        ("slide_id,grade\na,x\na,y", {}, "a is in line 2 and in line 3"),
        ("slide_id,grade\na,", {"target": "grade"}, "no slide of .* has a value in `grade`"),
        ("slide_id,label\na,negative\nd,Negative", {}, "'Negative' and 'negative'"),
        ("slide_id,grade\na,x,y", {}, r"line 2 \(3\)"),
        ("slide_id;grade\na;x", {}, "looks semicolon-separated"),
        ("slide_id,fold\na,train\nb,test", {"split_column": "fold"}, "patient p has slides in test and in train"),
    ],
)
def test_a_cohort_that_does_not_fit_is_a_sentence(uneven, tmp_path, lines, settings, said):
    (tmp_path / "c.csv").write_text(lines)
    with pytest.raises(UserError, match=said):
        plan_of(uneven, data={"cohort": str(tmp_path / "c.csv"), **settings})


def test_a_table_of_patients_speaks_for_their_slides(uneven, tmp_path):
    (tmp_path / "c.csv").write_text("case_id,label\np,negative\nr,positive\n")
    manifest, plan = plan_of(uneven, data={"cohort": str(tmp_path / "c.csv")})
    of = dict(zip(*(manifest.cohort().texts(name) for name in ("slide_id", "patient_id")), strict=True))
    assert {of[slide] for slide, _ in epoch_of(manifest, plan, PURE, Data(cohort=str(tmp_path / "c.csv")))} == {"p"}
