"""The two views of a patch of a feature store, and windows read from one, without Ray."""

import numpy as np
import pytest

from tests.feature_files.stores import SLIDES, WIDTH, features_of, small_recipe, write_slide, write_store
from wsc_ray.errors import DataError
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import worker_shards
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.quarantine import from_json
from wsc_ray.stream.read import read_window
from wsc_ray.stream.source import open_source
from wsc_ray.stream.views import pair_draws


class Stream:
    """All of a run on features."""

    def __init__(self, settings):
        self.recipe = validate_recipe(settings)
        self.table = open_source(self.recipe.data)
        self.plan = make_plan(self.table, self.recipe)

    def __call__(self, workers=1, first_step=0):
        """Every step's global batch, workers put together."""
        steps = {}
        geometry = self.plan.geometry
        for epoch in range(self.plan.epochs):
            for window in range(geometry.windows):
                for rank in range(workers):
                    for batch in read_window(
                        self.plan,
                        self.table,
                        self.recipe.augment,
                        epoch=epoch,
                        window=window,
                        shards=worker_shards(geometry.shards, rank, workers),
                        first_step=first_step,
                        stream=self.recipe.stream,
                    ):
                        steps.setdefault(int(batch["step"][0]), []).append(batch)
        joined = {step: {k: np.concatenate([b[k] for b in parts]) for k in parts[0]} for step, parts in steps.items()}
        # Each worker gives pure patches, then mixed ones.
        return {step: {k: v[np.argsort(batch["position"])] for k, v in batch.items()} for step, batch in joined.items()}


@pytest.fixture
def settings(tmp_path):
    return small_recipe(write_store(tmp_path / "store"))


def test_every_pair_of_different_views_is_as_likely():
    pairs = pair_draws(5, 40_000, 1, 2)
    assert pairs.shape == (40_000, 2)
    counts = np.zeros((5, 5))
    np.add.at(counts, tuple(pairs.T), 1)
    assert np.diag(counts).sum() == 0
    others = counts[~np.eye(5, dtype=bool)]
    assert np.abs(others - 2000).max() < 5 * np.sqrt(2000)  # five standard deviations


def test_a_pair_depends_on_the_key_and_the_place_alone():
    pairs = pair_draws(8, 100, 3, 4)
    np.testing.assert_array_equal(pair_draws(8, 60, 3, 4), pairs[:60])
    assert not np.array_equal(pair_draws(8, 100, 3, 5), pairs)
    np.testing.assert_array_equal(np.sort(pair_draws(2, 50, 0), axis=1), np.tile([0, 1], (50, 1)))


def test_batches_are_stored_views_under_their_slides_labels(settings):
    stream = Stream(settings)
    assert stream.plan.labels == ("negative", "positive")
    own = {slide: features_of(slide, patches) for slide, (_, patches) in SLIDES.items()}
    for batch in stream().values():
        assert batch["views"].shape == (16, 2, WIDTH)
        assert batch["label"].tolist() == [0] * 8 + [1] * 8
        for slide, x, y, label, views, pair in zip(
            *(batch[name] for name in ("slide_id", "x", "y", "label", "views", "parameters")), strict=True
        ):
            assert (y, label) == (2 * x, int(SLIDES[slide][0] == "positive"))
            assert pair.shape == (2, 1)
            assert pair[0] != pair[1]
            np.testing.assert_array_equal(views, own[slide][x][pair[:, 0].astype(int)])


def test_an_epoch_shows_every_patch_of_the_larger_class_once(settings):
    settings["train"] |= {"epochs": 1, "steps_per_epoch": None}
    settings["train"]["workers"] = 1
    stream = Stream(settings)
    seen = [(s, x) for batch in stream().values() for s, x, label in zip(batch["slide_id"], batch["x"], batch["label"], strict=True) if label == 0]  # fmt: skip
    assert sorted(seen) == [(s, x) for s, (label, n) in sorted(SLIDES.items()) if label == "negative" for x in range(n)]


def test_batches_are_the_same_for_any_number_of_workers_and_from_any_step(settings):
    stream = Stream(settings)
    whole = stream()
    assert sorted(whole) == list(range(8))
    for other in (stream(workers=2), stream(workers=3), stream(first_step=3)):
        for step, batch in other.items():
            for name, values in batch.items():
                np.testing.assert_array_equal(values, whole[step][name], err_msg=name)
    assert sorted(stream(first_step=3)) == list(range(3, 8))


def test_patches_whose_views_are_no_numbers_have_stand_ins(settings, tmp_path):
    settings["train"]["steps_per_epoch"] = 10  # more than a pass
    broken = features_of("n1", SLIDES["n1"][1])
    broken[4, 2] = np.nan
    write_slide(tmp_path / "store", "n1", broken)
    stream = Stream(settings)
    one, two = stream(), stream(workers=2)
    told = {
        (bad.slide_id, bad.x, bad.reason) for batch in one.values() for text in batch["bad"] for bad in from_json(text)
    }
    assert told == {("n1", 4, "its views hold NaN or infinity")}
    for step, batch in one.items():
        assert np.isfinite(batch["views"]).all()
        assert ("n1", 4) not in set(zip(batch["slide_id"].tolist(), batch["x"].tolist(), strict=True))
        np.testing.assert_array_equal(batch["views"], two[step]["views"])


def test_a_cohort_over_the_store_decides_who_takes_part(settings, tmp_path):
    (tmp_path / "grades.csv").write_text(
        "slide_id,grade\n"
        + "".join(f"{slide},{'low' if slide < 'n4' else 'high'}\n" for slide in SLIDES if slide != "n5")
    )
    settings["data"] |= {"cohort": str(tmp_path / "grades.csv"), "target": "grade", "pure": ["low"]}
    settings["train"]["steps_per_epoch"] = 10  # more than a pass
    batches = Stream(settings)().values()
    assert {s for batch in batches for s in batch["slide_id"][batch["label"] == 0]} == {"n0", "n1", "n2", "n3"}
    assert not any("n5" in batch["slide_id"] for batch in batches)

    (tmp_path / "grades.csv").write_text("slide_id,grade\nelsewhere,low\n")
    with pytest.raises(ValueError, match=r"lists none of the slides of .*store/slides.parquet"):
        Stream(settings)


def test_sentences_name_the_store(settings):
    settings["data"]["train_split"] = "fold"
    with pytest.raises(DataError, match=r"split 'fold' of .*/store is empty"):
        Stream(settings)
    settings["data"] |= {"train_split": "train", "pure": ["benign"]}
    with pytest.raises(DataError, match=r"split 'train' of .*/store holds no patch of a pure label"):
        Stream(settings)
