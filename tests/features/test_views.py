"""Views that are embedded beside patches: pretraining's augmentations, the same for a patch in every process."""

import hashlib
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from tests.features.manifests import colour, picture, rows_of, write_manifest
from tests.features.test_embed_lot import FILES, job, same, whole_lot
from wsc_ray.commands import embed, pretrain
from wsc_ray.errors import RecipeError, RunFolderError
from wsc_ray.feature_files.table import open_features
from wsc_ray.features.augmented import Augmentation
from wsc_ray.features.embed_lot import embed_lot
from wsc_ray.features.store import stored_slides
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.recipe.sections import Augment
from wsc_ray.stream.augment import apply_view, two_views
from wsc_ray.stream.parameters import view_draws, view_parameters

AUGMENT = Augment(size=32, vflip=0.5, rotate90=True, hed=0.05)


def image(seed=0, side=24):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def stored(out, slide, name="views"):
    with h5py.File(out / f"{slide}.h5") as file:
        return file[name][:]


def with_views(manifest, out, views=3, batch_size=16):
    return replace(job(manifest, out, batch_size), augmentation=Augmentation(views, AUGMENT, seed=5))


def test_views_are_those_that_pretraining_makes():
    """Drawn from the same distribution by the same code: only the key is the patch's own."""
    views = Augmentation(4, AUGMENT, seed=5).apply(image(), 16, "slide", 3, 4)
    assert views.shape == (4, 16, 16, 3)
    key = 5, int.from_bytes(hashlib.sha256(b"slide\x003\x004").digest()[:16])
    expected = [
        apply_view(image(), row, 16)
        for pair in view_draws(2, *key)
        for row in view_parameters(AUGMENT, 24, 24, pair.tolist())
    ]
    np.testing.assert_array_equal(views, expected)
    np.testing.assert_array_equal(views[:2], two_views(image(), AUGMENT.model_copy(update={"size": 16}), *key))
    assert len(np.unique(views.reshape(4, -1), axis=0)) == 4


def test_views_depend_on_the_patch_and_the_seed_alone():
    made = Augmentation(4, AUGMENT, seed=5)
    views = made.apply(image(), 16, "slide", 3, 4)
    np.testing.assert_array_equal(made.apply(image(), 16, "slide", 3, 4), views)
    np.testing.assert_array_equal(Augmentation(3, AUGMENT, seed=5).apply(image(), 16, "slide", 3, 4), views[:3])
    for other in (
        made.apply(image(), 16, "slide", 4, 3),
        made.apply(image(), 16, "slid", 3, 4),
        Augmentation(4, AUGMENT, seed=6).apply(image(), 16, "slide", 3, 4),
    ):
        assert not np.array_equal(other, views)
    made.apply(image(), 16, "slide", -1, -1)  # a patch without coordinates


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_files_hold_views_beside_the_features_however_they_were_batched(tmp_path, batch_size):
    manifest, out = write_manifest(tmp_path / "manifest", FILES), tmp_path / "out"
    sizes = []

    def encode(pixels):
        sizes.append(len(pixels))
        return colour(pixels)

    lot = whole_lot(manifest, ["a", "b", "c"])
    embed_lot(with_views(manifest, out, batch_size=batch_size), lot, encode, same, threads=3)
    assert max(sizes) <= batch_size
    made = Augmentation(3, AUGMENT, seed=5)
    for slide, rows in rows_of(FILES).items():
        views = stored(out, slide)
        assert (views.dtype, views.shape) == (np.float16, (len(rows), 3, 3))
        expected = [colour(made.apply(picture(row), 8, slide, row, 2 * row)) for row in rows]
        np.testing.assert_array_equal(views, np.array(expected, np.float16))
        np.testing.assert_array_equal(stored(out, slide, "features"), np.stack([picture(row)[0, 0] for row in rows]))


def test_a_slide_embedded_again_is_the_same(tmp_path):
    """As after a crash: alone, in another lot, by another number of threads."""
    manifest = write_manifest(tmp_path / "manifest", FILES)
    lot = whole_lot(manifest, ["a", "b", "c"])
    embed_lot(with_views(manifest, tmp_path / "one"), lot, colour, same, threads=1)
    embed_lot(with_views(manifest, tmp_path / "two", batch_size=5), whole_lot(manifest, ["b"]), colour, same, threads=3)
    np.testing.assert_array_equal(stored(tmp_path / "two", "b"), stored(tmp_path / "one", "b"))


def test_the_command_stores_views_and_knows_how_many(ray_cluster, settings, tmp_path):
    settings["train"]["epochs"] = 0
    run = tmp_path / "run"
    pretrain(recipe=validate_recipe(settings), out=run)
    embed(run=run, out=tmp_path / "plain")
    summary = embed(run=run, views=3)
    assert summary["views"] == 3
    store = run / "features"
    slide = sorted(stored_slides(store))[0]
    views, features = stored(store, slide), stored(store, slide, "features")
    assert views.shape == (len(features), 3, features.shape[1])
    np.testing.assert_allclose(features, stored(tmp_path / "plain", slide, "features"), rtol=1e-4, atol=1e-5)
    assert np.abs(views.astype(np.float32) - features[:, None]).max() > 1e-2

    table = open_features(str(store))
    assert (table.views, table.width, len(table.files)) == (3, features.shape[1], summary["slides"])
    assert table.encoder == json.loads((store / "identity.json").read_text())["encoder"]

    # What is missing is done again, and comes out the same.
    (store / f"{slide}.h5").unlink()
    embed(run=run, views=3, overrides=["embed.batch_size=5"])
    np.testing.assert_allclose(stored(store, slide).astype(np.float32), views.astype(np.float32), rtol=2e-3, atol=1e-3)
    for change, said in (
        ({"views": 4}, "`views.count`: 3 there, 4 here"),
        ({}, "`views`: "),
        ({"views": 3, "overrides": ["augment.hue=0.2"]}, "`views.augment.hue`: 0.1 there, 0.2 here"),
    ):
        with pytest.raises(RunFolderError, match=said):
            embed(run=run, **change)
    with pytest.raises(RecipeError, match="--views: training pairs two different views"):
        embed(run=run, views=1, out=tmp_path / "one")
    with pytest.raises(RecipeError, match=r"--features: .*encoder is an encoder of pixels; give --manifest"):
        embed(run=run, features=store, out=tmp_path / "one")
