"""New slides are cut like the patches that the head was fitted to, which need not be those that the run's encoder was trained on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.features.manifests import write_manifest
from tests.predict.test_planted import blue_head
from tests.slides.drawn import draw, write
from wsc_ray.commands import predict
from wsc_ray.errors import DataError
from wsc_ray.features.store import SlideFeatures, write_slide, write_slides
from wsc_ray.files import write_json, write_summary
from wsc_ray.predict import sources
from wsc_ray.predict.head import load_head_of
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was trained at 0.5 um/px, whose features are of another manifest, at 1 um/px."""
    monkeypatch.setattr(sources, "fitted_recipe", lambda encoder, head, recipe: recipe)  # there is no encoder
    write_manifest(tmp_path / "training", [[["a"] * 5]])
    other = write_manifest(tmp_path / "other", [[["b"] * 5]], coarse=range(5))
    run = tmp_path / "run"
    write_json(run / "identity.json", {"format": 1, "manifest": None})
    (run / "recipe.yaml").write_text(f"data: {{manifest: {tmp_path / 'training'}}}\n")
    slide = SlideFeatures("b", np.zeros((5, 3), np.float32), np.zeros((5, 2), np.int64))
    write_slide(run / "features", slide, attributes={}, coords_attributes={"mpp": 1.0, "patch_size": 8})
    table = {"slide_id": ["b"], "patient_id": ["p"], "label": ["positive"], "split": ["test"], "patches": [5]}
    write_slides(run / "features", pa.table(table))
    write_json(run / "features" / "identity.json", {"command": "embed", "manifest": other.digest})
    write_summary(run / "features", "embed", {"manifest": str(tmp_path / "other")})
    blue_head(run / "mil")
    write(tmp_path / "slides" / "new.tif", draw(64, seed=1))
    return run


def planned(run: Path, **more: object) -> dict:
    return predict(slides=run.parent / "slides", run=run, out=run.parent / "out", dry_run=True, **more)


def test_the_manifest_of_the_features_says_how(run):
    plan = planned(run)
    assert (plan["mpp"], plan["patch_size"]) == (1.0, 8)
    assert not [note for note in plan["notes"] if "um/px" in note]


def test_where_it_has_moved_the_recipe_may_name_its_place(run):
    (run.parent / "other").rename(run.parent / "moved")
    plan = planned(run, overrides=[f"data.manifest={run.parent / 'moved'}"])
    assert (plan["mpp"], plan["patch_size"]) == (1.0, 8)


@pytest.mark.parametrize(("option", "value"), [("mpp", 0.5), ("patch_size", 16)])
def test_another_scale_or_size_than_the_features_is_noted(run, option, value):
    plan = planned(run, **{option: value})
    assert plan[option] == value
    (note,) = [note for note in plan["notes"] if "um/px" in note]
    assert "the head's features are of patches of 8 px at 1 um/px" in note


def test_a_scale_within_the_tolerance_of_scanners_is_the_same(run):
    assert not [note for note in planned(run, mpp=1.01)["notes"] if "um/px" in note]


def test_a_head_of_other_features_than_the_runs_is_asked_about_its_own(run, tmp_path):
    """Its folder names them; what the run's features are of, and which slides these have, says nothing of this head."""
    third = write_manifest(tmp_path / "third", [[["c"] * 5]])
    own = tmp_path / "own"
    slide = SlideFeatures("c", np.zeros((5, 3), np.float32), np.zeros((5, 2), np.int64))
    write_slide(own, slide, attributes={}, coords_attributes={"mpp": 0.5, "patch_size": 8})
    table = {"slide_id": ["c"], "patient_id": ["p"], "label": ["positive"], "split": ["train"], "patches": [5]}
    write_slides(own, pa.table(table))
    write_json(own / "identity.json", {"command": "embed", "manifest": third.digest})
    write_summary(own, "embed", {"manifest": str(tmp_path / "third")})
    head = blue_head(tmp_path / "head")
    write_summary(head, "tune", {"features": str(own)})
    plan = planned(run, head=head)
    assert (plan["mpp"], plan["patch_size"]) == (0.5, 8)
    assert not [note for note in plan["notes"] if "um/px" in note]
    note = next(note for note in planned(run, head=head, mpp=1.0)["notes"] if "um/px" in note)
    assert "the head's features are of patches of 8 px at 0.5 um/px" in note
    loaded = load_head_of(head, RunFolder(run), Recipe())
    assert loaded.features == own
    assert loaded.fitted == {"c"}
    assert load_head_of(run / "mil", RunFolder(run), Recipe()).features == run / "features"


def test_features_of_another_encoder_are_not_the_heads(run):
    """Where the head's record names no features, those of the run count, unless they are of another encoder."""
    head = blue_head(run / "mil", embed={"encoder": "a" * 64, "size": 8})
    assert load_head_of(head, RunFolder(run), Recipe()).features == run / "features"  # which do not say whose they are
    known = {"command": "embed", "encoder": "b" * 64, "size": 8}
    write_json(run / "features" / "identity.json", known)
    loaded = load_head_of(head, RunFolder(run), Recipe())
    assert loaded.features is None
    assert loaded.fitted == set()
    (note,) = loaded.notes
    assert "not known, or gone" in note
    assert f"{run / 'features'} has another encoder or patch size" in note
    with pytest.raises(
        DataError, match="give the scale and the size of the patches, no manifest of the head's features is known"
    ):
        planned(run)
    write_json(run / "features" / "identity.json", known | {"encoder": "a" * 64})
    assert load_head_of(head, RunFolder(run), Recipe()).features == run / "features"


def test_features_that_are_gone_are_not_replaced_by_the_runs(run, tmp_path):
    """The run's features may be of another cohort. `predict` does not use them, and a note names the features that are gone."""
    write_json(run / "features" / "identity.json", {"command": "embed", "encoder": "a" * 64, "size": 8})
    head = blue_head(tmp_path / "head", embed={"encoder": "a" * 64, "size": 8})
    for gone in (tmp_path / "gone", tmp_path / "gone" / "features"):
        write_summary(head, "tune", {"features": str(gone), "out": str(tmp_path / "gone" / "mil")})
        loaded = load_head_of(head, RunFolder(run), Recipe())
        assert loaded.features is None
        plan = planned(run, head=head, mpp=0.5, patch_size=8)
        (note,) = [note for note in plan["notes"] if "gone" in note]
        assert f"{gone} is gone" in note
        assert "the scale of patches cannot be compared with theirs" in note
        assert "slides that the head was fitted to are not recognised" in note
        with pytest.raises(DataError, match="give the scale and the size of the patches"):
            planned(run, head=head)
    assert [f"{gone} is gone" in note for note in load_head_of(head, None, Recipe()).notes] == [True]


@pytest.mark.parametrize("inside", [True, False])
def test_a_run_that_was_moved_has_its_own_features(run, tmp_path, inside):
    """The search names them at their old place; features from elsewhere do not become the run's by a move."""
    before = tmp_path / "before"
    named = before / "features" if inside else tmp_path / "elsewhere" / "features"
    write_summary(run / "mil", "tune", {"features": str(named), "out": str(before / "mil")})
    loaded = load_head_of(run / "mil", RunFolder(run), Recipe())
    assert loaded.features == (run / "features" if inside else None)
    assert any("gone" in note for note in loaded.notes) != inside


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nosuch://bucket/features", "Protocol not known: nosuch"),
        ("s3://bucket/f?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1", "cannot be used: .*connect"),
        ("damaged", "identity.json cannot be read: "),
    ],
    ids=["no driver", "unreachable", "damaged"],
)
def test_features_that_cannot_be_looked_at_cost_no_prediction(run, tmp_path, monkeypatch, named, reason):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")
    if named == "damaged":
        named = str(shutil.copytree(run / "features", tmp_path / "damaged"))
        (tmp_path / "damaged" / "identity.json").write_text("{")
    head = blue_head(tmp_path / "head")
    write_summary(head, "tune", {"features": named})
    plan = planned(run, head=head, mpp=0.5, patch_size=8)
    (note,) = [note for note in plan["notes"] if "not known, or gone" in note]
    assert re.search(reason, note)
    assert "--out" not in note  # an advice for those who write there
