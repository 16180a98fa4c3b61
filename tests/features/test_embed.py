"""Embedding on real Ray actors: one file for each slide, written in one step; existing files are left out."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from PIL import Image

from tests.broken import damaged, import_table, names
from tests.conftest import small_recipe
from wsc_ray.commands import embed, pretrain
from wsc_ray.encoders import load_exported, normalise_pixels
from wsc_ray.errors import DataError, RecipeError, ResourceError, RunFolderError
from wsc_ray.features.attributes import overlap as overlap_of
from wsc_ray.features.room import cpus_each
from wsc_ray.features.store import read_slide, read_slides, stored_slides
from wsc_ray.files import read_json
from wsc_ray.manifest import Manifest
from wsc_ray.pixels import decode
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.augment import resize


@pytest.fixture(scope="module")
def untrained(manifest, new_store, tmp_path_factory):
    """A run folder with an untrained encoder, which needs no Ray."""
    folder = tmp_path_factory.mktemp("untrained")
    recipe = small_recipe(manifest, new_store())
    recipe["train"]["epochs"] = 0
    pretrain(recipe=validate_recipe(recipe), out=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def finished(ray_cluster, untrained, tmp_path_factory):
    """A copy of it, embedded by one worker and only read."""
    folder = tmp_path_factory.mktemp("embedded") / "run"
    shutil.copytree(untrained, folder)
    embed(run=folder)
    return folder


@pytest.fixture
def run(untrained, tmp_path):
    """A run folder that is not embedded yet, of the test's own."""
    shutil.copytree(untrained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def embedded(finished, tmp_path):
    """A run folder that is embedded, of the test's own."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_every_slide_holds_the_encoders_features(finished, cohort):
    run, summary = finished, read_json(finished / "features" / "summary.json")
    raw = pq.read_table(cohort).to_pandas()
    assert summary["patches_embedded"] == len(raw)
    slides = read_slides(run / "features").slides.to_pandas().set_index("slide_id")
    assert set(slides.index) == set(raw.slide_id)
    encoder, _ = load_exported(run / "encoder")
    for slide_id, patches in list(raw.groupby("slide_id"))[:3]:
        found = read_slide(run / "features", slide_id)
        assert slides.loc[slide_id, "patches"] == len(patches)
        assert slides.loc[slide_id, "label"] == ("positive" if patches.slide_label.iloc[0] else "negative")
        order = {(x, y): i for i, (x, y) in enumerate(found.coords.tolist())}
        rows = [order[(x, y)] for x, y in zip(patches.x, patches.y, strict=True)]
        np.testing.assert_array_equal(found.patch_label[rows], patches.patch_label)
        pixels = torch.from_numpy(np.stack([resize(decode(image), 32) for image in patches.image]))
        with torch.inference_mode():
            expected = encoder(normalise_pixels(pixels)).numpy()
        np.testing.assert_allclose(found.features[rows], expected, rtol=1e-4, atol=1e-5)


def test_files_are_tridents(finished):
    path = next((finished / "features").glob("*.h5"))
    with h5py.File(path) as file:
        assert file["features"].dtype == np.float32
        assert file["coords"].dtype == np.int64
        assert file["features"].attrs["encoder"] == "test_resnet"
        for key in ("patch_size", "patch_size_level0", "target_magnification", "overlap", "name", "savetodir"):
            assert key in file["coords"].attrs, key


@pytest.mark.parametrize("overlap", [0, 16])
def test_overlap_follows_from_coordinates_also_where_pieces_have_grids_of_their_own(overlap):
    step = 2 * (64 - overlap)  # of patches of 128 level-0 px, stored as 64
    pieces = [
        (left + column * step, top + row * step)
        for left, top in ((0, 0), (1003, 7))
        for row in range(3)
        for column in range(3)
    ]
    assert overlap_of(np.array(pieces), 128, 64) == overlap
    assert overlap_of(np.array([(5, 5)]), 128, 64) == 0


def test_a_second_time_only_what_is_missing_is_done(embedded):
    run = embedded
    files = sorted((run / "features").glob("*.h5"))
    stamps = {path: path.stat().st_mtime_ns for path in files}
    before = read_slide(run / "features", files[4].stem)
    files[4].unlink()
    (run / "features" / f".{files[4].name}.half").write_bytes(b"half-written, by a crash")
    summary = embed(run=run)
    assert summary["slides_there"] == len(files) - 1
    assert summary["patches_embedded"] == len(before.features)
    np.testing.assert_allclose(
        read_slide(run / "features", files[4].stem).features, before.features, rtol=1e-5, atol=1e-6
    )
    assert all(path.stat().st_mtime_ns == stamps[path] for path in files if path != files[4])
    assert embed(run=run)["patches_embedded"] == 0


def test_features_of_two_encoders_are_never_mixed(embedded, tmp_path):
    run = embedded
    with pytest.raises(RunFolderError, match="`size`: 32 there, 48 here"):
        embed(run=run, overrides=["embed.size=48"])
    other = yaml.safe_load((run / "recipe.yaml").read_text())
    other["seed"] = 9
    pretrain(recipe=validate_recipe(other), out=tmp_path / "other")
    with pytest.raises(RunFolderError, match="`encoder`: "):
        embed(run=tmp_path / "other", out=run / "features")


def test_a_dry_run_touches_nothing(run):
    before = sorted(run.rglob("*"))
    assert embed(run=run, dry_run=True)["patches"] > 0
    assert sorted(run.rglob("*")) == before


def test_a_killed_command_typed_again_does_what_is_missing(run):
    """The command is slow, a patch a time, so that it can be killed between two slides."""
    command = [sys.executable, "-m", "wsc_ray", "embed", "--run", str(run), "--set", "embed.batch_size=1"]
    features = run / "features"
    started = subprocess.Popen([*command, "--set", "embed.size=384"], start_new_session=True)
    deadline = time.monotonic() + 300
    try:
        while not stored_slides(features):
            assert started.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert not (features / "summary.json").exists()
    assert not (features / "slides.parquet").exists()
    time.sleep(5)  # what Ray has started sees that its driver has gone
    stamps = {slide: (features / f"{slide}.h5").stat().st_mtime_ns for slide in stored_slides(features)}
    (features / ".slide.h5.left").write_bytes(b"half-written")
    summary = embed(run=run, overrides=["embed.size=384"])
    assert summary["slides_there"] == len(stamps) < summary["slides"]
    there = sum(len(read_slide(features, slide).features) for slide in stamps)
    assert summary["patches_embedded"] == summary["patches"] - there
    assert all((features / f"{slide}.h5").stat().st_mtime_ns == stamp for slide, stamp in stamps.items())
    assert len(stored_slides(features)) == summary["slides"]
    assert not list(features.glob(".*.h5.*"))


def test_an_encoder_whose_process_dies_is_started_again(ray_cluster, run):
    """Its process is killed once a slide is through, while the next patches are encoded one at a time."""
    features, killed = run / "features", []

    def kill():
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not killed:
            if stored_slides(features):
                for process in psutil.Process().children(recursive=True):
                    if process.name().startswith("ray::Worker"):
                        process.kill()
                        killed.append(process.pid)
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(kill)
        summary = embed(run=run, overrides=["embed.batch_size=1", "embed.size=256"])
        done.result()
    assert killed
    assert summary["patches_embedded"] == summary["patches"]
    assert len(stored_slides(features)) == summary["slides"]
    assert not list(features.glob(".*.h5.*"))


def test_two_workers_write_what_one_does_and_no_row_comes_to_the_driver(finished, tmp_path, monkeypatch):
    run = finished

    def refuse(*_):
        raise AssertionError("rows of patches are read where the command runs")

    monkeypatch.setattr(Manifest, "read_rows", refuse)
    monkeypatch.setattr(Manifest, "read_group", refuse)
    embed(run=run, out=tmp_path / "two", overrides=["embed.workers=2", "embed.batch_size=5"])
    assert stored_slides(tmp_path / "two") == stored_slides(run / "features")
    for slide in stored_slides(tmp_path / "two"):
        one, two = read_slide(run / "features", slide), read_slide(tmp_path / "two", slide)
        np.testing.assert_allclose(two.features, one.features, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(two.coords, one.coords)
        np.testing.assert_array_equal(two.patch_label, one.patch_label)


def test_one_unreadable_patch_ends_embed_with_a_sentence_and_complete_slides_are_kept(
    ray_cluster, run, cohort, tmp_path, wsc_ray_command
):
    table = pq.read_table(cohort)
    manifest = import_table(damaged(table, [30]), tmp_path / "broken")
    ((slide, x, y),) = names(table, [30])
    out = tmp_path / "features"
    status, text = wsc_ray_command("embed", "--run", run, "--manifest", manifest, "--out", out)
    assert status == 2
    assert f"slide {slide}, x {x}, y {y}: the image cannot be decoded" in text
    assert "Traceback" not in text
    assert slide not in stored_slides(out)
    assert not list(out.glob(".*.h5.*"))
    assert not (out / "summary.json").exists()
    for other in stored_slides(out):
        assert len(read_slide(out, other).features) == table["slide_id"].to_pylist().count(other)
    with pytest.raises(DataError, match="cannot be decoded"):
        embed(run=run, manifest=str(manifest), out=out)


def test_a_published_encoder_needs_no_run(ray_cluster, manifest, cohort, tmp_path, wsc_ray_command, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow's store
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=0).eval()
    known = {**model.pretrained_cfg, "mean": [0.1, 0.2, 0.3], "input_size": [3, 40, 40], "interpolation": "bicubic"}
    timm.models.save_for_hf(
        model, str(tmp_path / "encoder"), model_config={"pretrained_cfg": known}, safe_serialization=True
    )
    out, encoder = tmp_path / "features", f"local-dir:{tmp_path / 'encoder'}"
    status, text = wsc_ray_command("embed", "--encoder", encoder, "--manifest", manifest, "--out", out)
    assert status == 0, text
    raw = pq.read_table(cohort).to_pandas()
    assert stored_slides(out) == set(raw.slide_id)
    slide_id, patches = next(iter(raw.groupby("slide_id")))
    transform = timm.data.create_transform(
        (3, 40, 40), interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.5,) * 3, crop_pct=1, crop_mode="squash"
    )
    pixels = torch.stack([transform(Image.fromarray(decode(image))) for image in patches.image])
    with torch.inference_mode():
        expected = model(pixels).numpy()
    found = read_slide(out, slide_id)
    order = {(x, y): i for i, (x, y) in enumerate(found.coords.tolist())}
    rows = [order[(x, y)] for x, y in zip(patches.x, patches.y, strict=True)]
    np.testing.assert_allclose(found.features[rows], expected, rtol=1e-4, atol=1e-5)
    identity = read_json(out / "identity.json")
    with (tmp_path / "encoder" / "model.safetensors").open("rb") as file:
        assert identity["encoder"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert identity["interpolation"] == "bicubic"
    with pytest.raises(RunFolderError, match="`size`: 40 there, 48 here"):
        embed(encoder=encoder, manifest=str(manifest), out=out, overrides=["embed.size=48"])


def test_without_a_run_and_without_an_encoder_it_says_what_is_missing(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="--encoder: missing; give it or --run"):
        embed(manifest=str(manifest), out=tmp_path / "features")
    assert list(tmp_path.iterdir()) == []


def test_encoders_find_room_on_nodes():
    assert cpus_each([{"CPU": 4}], 1) == 4
    assert cpus_each([{"CPU": 4}], 4) == 1
    assert cpus_each([{"CPU": 64}], 2) == 8
    assert cpus_each([{"CPU": 3}, {"CPU": 5}], 3) == 2
    assert cpus_each([{"CPU": 32}, {"CPU": 8, "GPU": 2}], 2) == 4
    with pytest.raises(ResourceError, match=r"embed\.workers: 5 encoders do not find a CPU each.* room for 4"):
        cpus_each([{"CPU": 4}], 5)
    with pytest.raises(ResourceError, match=r"3 encoders do not find a CPU and a GPU each.* room for 2"):
        cpus_each([{"CPU": 32}, {"CPU": 8, "GPU": 2}], 3)


def test_a_run_names_its_manifest_wherever_the_command_is_typed(run, settings, tmp_path, monkeypatch):
    """A manifest that was given as a relative path is found from another folder, and no other is taken for it."""
    here = os.path.relpath(settings["data"]["manifest"], tmp_path)
    monkeypatch.chdir(tmp_path)
    settings["data"]["manifest"] = here
    pretrain(recipe=validate_recipe(settings), out="relative")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert embed(run="../relative", dry_run=True)["patches"] > 0
    identity = read_json(tmp_path / "relative" / "identity.json")
    identity["manifest"]["digest"] = "0" * 64
    (tmp_path / "relative" / "identity.json").write_text(json.dumps(identity))
    with pytest.raises(RunFolderError, match=r"holds other patches than .*relative was trained on"):
        embed(run="../relative", dry_run=True)
    assert embed(run="../relative", manifest=identity["manifest"]["uri"], dry_run=True)["patches"] > 0
