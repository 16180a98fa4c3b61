"""`embed` with an encoder of features: it adapts one store into another of the same layout."""

import json

import h5py
import numpy as np
import pytest

from tests.feature_files.stores import (
    ENCODER,
    SLIDES,
    VIEWS,
    WIDTH,
    features_of,
    small_recipe,
    write_slide,
    write_store,
)
from wsc_ray.commands import embed, pretrain
from wsc_ray.encoders.adapter import read_adapter
from wsc_ray.errors import DataError, RecipeError, RunFolderError, WeightsError
from wsc_ray.features import adapt
from wsc_ray.features.store import read_slide, read_slides, stored_slides
from wsc_ray.files import read_json, write_json
from wsc_ray.mil.inputs import encoder_of
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.storage import as_path


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", {**SLIDES, "bare": ("negative", 0)})


@pytest.fixture
def run(store, new_store, tmp_path):
    """A run folder with an untrained adapter, which needs no Ray."""
    recipe = small_recipe(store, new_store())
    recipe["train"]["epochs"] = 0
    pretrain(recipe=validate_recipe(recipe), out=tmp_path / "run")
    return tmp_path / "run"


def test_every_slide_holds_the_adapted_features(run, store, monkeypatch):
    monkeypatch.setattr(adapt, "_ROWS", 5)  # several pieces a slide
    summary = embed(run=run)
    assert summary["patches_embedded"] == sum(patches for _, patches in SLIDES.values())
    adapter = read_adapter(as_path(run / "encoder"))
    for slide, (label, patches) in SLIDES.items():
        found, plain = read_slide(run / "features", slide), read_slide(store, slide)
        np.testing.assert_allclose(found.features, adapter(plain.features), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.coords, plain.coords)
        assert found.features.shape == (patches, 12)
        assert label in ("negative", "positive")
    assert read_slide(run / "features", "bare").features.shape == (0, 12)
    assert read_slides(run / "features").slides.equals(read_slides(store).slides)
    with h5py.File(run / "features" / "n0.h5") as file:
        assert (file["features"].attrs["encoder"], file["coords"].attrs["patch_size"]) == ("mlp", 32)
        assert file["coords"].attrs["savetodir"] == str(run / "features")
        assert "views" not in file


def test_a_store_says_what_it_is_of(run):
    embed(run=run)
    identity = json.loads((run / "features" / "identity.json").read_text())
    adapter = read_adapter(as_path(run / "encoder"))
    assert identity["encoder"] == adapter.digest
    assert identity["features_encoder"] == ENCODER
    assert encoder_of(run / "features") == {"encoder": adapter.digest, "size": 32}


def test_a_second_time_only_what_is_missing_is_done(run):
    embed(run=run)
    features = run / "features"
    stamps = {slide: (features / f"{slide}.h5").stat().st_mtime_ns for slide in stored_slides(features) - {"n3"}}
    before = read_slide(features, "n3")
    (features / "n3.h5").unlink()
    (features / ".n3.h5.half").write_bytes(b"half-written, by a crash")
    summary = embed(run=run)
    assert (summary["slides_there"], summary["patches_embedded"]) == (len(SLIDES), len(before.features))
    np.testing.assert_array_equal(read_slide(features, "n3").features, before.features)
    assert {slide: (features / f"{slide}.h5").stat().st_mtime_ns for slide in stamps} == stamps
    assert not list(features.glob(".n3*"))


def test_another_store_of_the_same_encoder_is_taken(run, tmp_path):
    others = write_store(tmp_path / "others", {"q0": ("positive", 7)}, views=None)
    summary = embed(
        encoder=run / "encoder",
        features=others,
        out=tmp_path / "out",
        overrides=[f"tracking.uri=sqlite:///{tmp_path}/m.db"],
    )
    assert summary["patches_embedded"] == 7
    with pytest.raises(RunFolderError, match="`features`: "):
        embed(run=run, out=tmp_path / "out")


def test_features_of_another_encoder_are_refused(run, tmp_path):
    """Of the same width they would give nonsense in silence."""
    others = write_store(tmp_path / "others", encoder="f" * 64)
    with pytest.raises(
        DataError,
        match=r"by another encoder \(ffffffffffff\) than those that .*encoder was trained on \(eeeeeeeeeeee\)",
    ):
        embed(run=run, features=others)
    wide = write_store(tmp_path / "wide", width=WIDTH + 1)
    with pytest.raises(DataError, match=r"features of slide n0 are \(9, 7\), and the encoder in .* takes 6 dimensions"):
        embed(run=run, features=wide)
    assert not (run / "features").exists()


def test_what_is_wrong_in_a_slide_is_a_sentence_and_leaves_nothing_half_written(run, store):
    broken = features_of("n2", SLIDES["n2"][1])
    broken[3] = np.nan
    write_slide(store, "n2", broken)
    with pytest.raises(DataError, match="features of slide n2 are not all finite numbers"):
        embed(run=run)
    assert "n2" not in stored_slides(run / "features")
    assert not list((run / "features").glob(".n2*"))
    (store / "n2.h5").unlink()
    with pytest.raises(DataError, match="features of slide n2 are missing"):
        embed(run=run)
    write_slide(store, "n2", features_of("n2", SLIDES["n2"][1]))
    embed(run=run)
    assert stored_slides(run / "features") == {*SLIDES, "bare"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"manifest": "cohort"},
            r"--manifest: .*encoder is an encoder of features and sees no pixels; give --features",
        ),
        ({"views": VIEWS}, r"--views: .*encoder is an encoder of features"),
        ({"overrides": ["data.features=null", "data.manifest=null"]}, r"--features: missing"),
    ],
)
def test_what_does_not_go_together(run, arguments, said):
    with pytest.raises(RecipeError, match=said):
        embed(run=run, **arguments)


def test_a_dry_run_touches_nothing(run):
    before = sorted(run.rglob("*"))
    assert embed(run=run, dry_run=True)["patches"] == sum(patches for _, patches in SLIDES.values())
    assert sorted(run.rglob("*")) == before


def test_a_damaged_config_is_named(run):
    path = run / "encoder" / "config.json"
    path.write_text(path.read_text().replace('"mlp"', '"mlq"'))
    with pytest.raises(WeightsError, match=r"encoder/config\.json cannot be read"):
        embed(run=run)


def test_weights_that_do_not_fit_are_a_sentence(run):
    config = read_json(run / "encoder" / "config.json")
    config["model_args"]["outputs"] = 13
    write_json(run / "encoder" / "config.json", config)
    with pytest.raises(WeightsError, match=r"model.safetensors does not fit config.json"):
        embed(run=run)


def test_a_damaged_store_is_named_and_nothing_of_it_is_used(run, store):
    path = sorted(store.glob("*.h5"))[1]
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.stem} cannot be read from .*; delete the file and embed again"):
        embed(run=run)
    assert not (run / "features" / path.name).exists()
