"""`wsc-ray tile` on drawn slides: what is cut, what is refused, and that an interruption changes nothing."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from tests.slides.drawn import draw, write
from tests.slides.jpeg_slides import Jpeg, write_jpeg_slide
from tests.slides.test_tissue import disc
from tests.stream.test_read import Stream
from wsc_ray.cohort import read_cohort
from wsc_ray.commands import embed, manifest_check, pretrain, tile
from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.files import read_json, write_json
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import decode
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.order import MIXED, PURE

SLIDES = (
    ("n1", "negative", "train"),
    ("n2", "negative", "test"),
    ("p1", "positive", "train"),
    ("p2", "positive", "test"),
)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """A list of four slides of 1024 px at 0.5 um/px, and their folder."""
    folder = tmp_path_factory.mktemp("slides")
    for number, (name, _, _) in enumerate(SLIDES):
        write(folder / f"{name}.tif", draw(1024, seed=number))
    return listed(folder, *((f"{name}.tif", name, label, split) for name, label, split in SLIDES))


def listed(folder: Path, *rows: tuple[str, str, str, str], name: str = "slides.csv") -> Path:
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "slide_id", "label", "split"])
        writer.writerows(rows)
    return folder / name


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where MLflow's store of last resort will lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tiled(ray_cluster, slides, tmp_path_factory):
    """A manifest of patches of 64 px, and its summary."""
    folder = tmp_path_factory.mktemp("tiled")
    before = Path.cwd()
    os.chdir(folder)
    try:
        return folder / "manifest", tile(slides=slides, out="manifest", patch_size=64, file_rows=64, row_group_rows=16)
    finally:
        os.chdir(before)


def test_a_manifest_in_a_bucket_is_the_same_and_is_gone_on_with(tiled, slides, s3, here):
    # With keys: workers may be older than the server. moto keeps what comes without a login in another form.
    options = {
        "slides": slides,
        "out": s3.uri("tiled", keys=True),
        "patch_size": 64,
        "file_rows": 64,
        "row_group_rows": 16,
    }
    assert tile(**options)["digest"] == tiled[1]["digest"]
    assert tile(**options)["patches_cut"] == 0
    assert open_manifest(s3.uri("tiled")).digest == tiled[1]["digest"]
    with pytest.raises(RunFolderError, match=r"holds patches with other settings(.|\n)*`mpp`"):
        tile(**options | {"mpp": 1.0})
    assert not list(here.iterdir())


def test_the_manifest_holds_the_tissue_of_the_slides(tiled, slides):
    out, summary = tiled
    assert manifest_check(manifest=out, all=True)["patches"] == summary["patches"]
    table = pq.read_table(out / "patches").to_pandas()
    cohort = read_cohort(out).slides.to_pandas()
    assert set(zip(cohort.slide_id, cohort.label, cohort.split, strict=True)) == set(SLIDES)
    assert set(table.slide_id) == set(cohort.slide_id)
    assert (cohort.mpp > 0).all()
    assert (cohort.patient_id == cohort.slide_id).all()
    assert set(table.patch_size) == set(table.patch_size_level0) == {64}
    assert set(table.level) == {0}
    np.testing.assert_allclose(table.mpp, 0.5, rtol=1e-3)
    tissue = disc(1024)
    whole = {(x, y): tissue[y : y + 64, x : x + 64].mean() for x in range(0, 1024, 64) for y in range(0, 1024, 64)}
    for number, (name, _, _) in enumerate(SLIDES):
        picture = draw(1024, seed=number)
        rows = table[table.slide_id == name]
        kept = set(zip(rows.x, rows.y, strict=True))
        assert {place for place, share in whole.items() if share > 0.7} <= kept
        assert not {place for place, share in whole.items() if share < 0.3} & kept
        for row in rows.iloc[::11].itertuples():
            drawn = picture[row.y : row.y + 64, row.x : row.x + 64].astype(int)
            assert np.abs(decode(row.image) - drawn).mean() < 12, "but for what JPEG takes"


def test_other_tools_read_the_grid_and_people_the_pictures(tiled):
    out, _ = tiled
    table = pq.read_table(out / "patches", columns=["slide_id", "x", "y"]).to_pandas()
    with h5py.File(out / "coords" / "p1_patches.h5") as file:
        coords, attributes = file["coords"][:], dict(file["coords"].attrs)
    rows = table[table.slide_id == "p1"]
    assert sorted(map(tuple, coords.tolist())) == sorted(zip(rows.x, rows.y, strict=True))
    told = {name: attributes[name] for name in ("patch_size", "patch_size_level0", "overlap", "level0_width", "name")}
    assert told == {"patch_size": 64, "patch_size_level0": 64, "overlap": 0, "level0_width": 1024, "name": "p1"}
    assert attributes["target_magnification"] == pytest.approx(20, rel=1e-3)
    picture = decode((out / "previews" / "p1.jpg").read_bytes())
    assert picture.shape[:2] == (1024, 1024), "every px of a small slide"


def test_a_finer_slide_is_shrunk_and_the_features_say_by_how_much(ray_cluster, here, settings):
    """0.25 um/px without a level of 0.5: 128 px become 64, and `patch_size_level0` travels to the feature file."""
    picture = draw(1024, seed=5)
    for name in ("n", "p", "n2", "p2"):
        write(here / f"{name}.tif", picture, mpp=0.25, levels=1)
    rows = [
        (f"{name}.tif", name, "negative" if name[0] == "n" else "positive", "train") for name in ("n", "p", "n2", "p2")
    ]
    summary = tile(slides=listed(here, *rows), out=here / "m", patch_size=64, overlap=16)
    table = pq.read_table(here / "m" / "patches").to_pandas()
    assert set(table.patch_size_level0) == {128}
    assert sorted(np.unique(np.diff(np.unique(table.x)))) == [96]
    row = table.iloc[len(table) // 2]
    half = picture[row.y : row.y + 128, row.x : row.x + 128].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(decode(row.image) - half).mean() < 8
    settings["data"]["manifest"] = str(here / "m")
    settings["train"]["epochs"] = 0
    pretrain(recipe=validate_recipe(settings), out=here / "run")
    assert embed(run=here / "run")["patches_embedded"] == summary["patches"]
    with h5py.File(here / "run" / "features" / "p.h5") as file:
        assert file["coords"].attrs["patch_size_level0"] == 128
        assert file["coords"].attrs["patch_size"] == 64
        assert file["coords"].attrs["overlap"] == 16


def test_a_second_time_only_what_is_missing_is_done(ray_cluster, slides, here):
    options = {"slides": slides, "out": here / "m", "patch_size": 64, "file_rows": 64, "row_group_rows": 16}
    first = tile(**options)
    assert first["patches_cut"] == first["patches"]
    files = sorted((here / "m" / "patches").iterdir())
    assert len(files) > 3
    stamps = {path: path.stat().st_mtime_ns for path in [*files, *(here / "m" / "coords").iterdir()]}
    gone = [files[1], here / "m" / "coords" / "n1_patches.h5"]
    for path in gone:
        path.unlink()
    (here / "m" / "patches" / f".{files[1].name}.half").write_bytes(b"half-written, by a crash")
    second = tile(**options)
    assert second["digest"] == first["digest"]
    assert 0 < second["patches_cut"] < first["patches"]
    assert second["mlflow"] == first["mlflow"]
    assert not [path for path in (here / "m").rglob(".*")]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path not in gone)


def test_other_settings_or_slides_are_refused(ray_cluster, tiled, slides, tmp_path):
    out, _ = tiled
    options = {"slides": slides, "out": out, "patch_size": 64, "file_rows": 64, "row_group_rows": 16}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(RunFolderError, match=r"holds patches with other settings(.|\n)*`mpp`: 0\.5 there"):
        tile(**options | {"mpp": 1.0})
    fewer = listed(
        slides.parent, *((f"{name}.tif", name, label, split) for name, label, split in SLIDES[1:]), name="f.csv"
    )
    with pytest.raises(RunFolderError, match="it names other slides"):
        tile(**options | {"slides": fewer})
    older = tmp_path / "older"
    shutil.copytree(out, older)
    identity = read_json(older / "identity.json")
    assert identity.pop("detector")
    write_json(older / "identity.json", identity)
    with pytest.raises(
        RunFolderError, match="tissue is found in another way than by the version that cut these patches"
    ):
        tile(**options | {"out": older})
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(RunFolderError, match="nothing of `wsc-ray tile`"):
        tile(**options | {"out": tmp_path / "taken"})
    assert tile(**options, dry_run=True)["looked_at"] == len(SLIDES)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_slides_that_cannot_be_used_are_named_and_left_out_where_that_is_asked(
    ray_cluster, slides, here, wsc_ray_command
):
    write(here / "bogus.tif", draw(512), mpp=264.58)
    write(here / "coarse.tif", draw(512), mpp=2.0)
    write(here / "glass.tif", np.full((512, 512, 3), 243, np.uint8))
    (here / "broken.tif").write_bytes((slides.parent / "n1.tif").read_bytes()[:5000])
    good = [(str(slides.parent / f"{name}.tif"), name, label, split) for name, label, split in SLIDES]
    bad = [(f"{name}.tif", name, "negative", "train") for name in ("bogus", "coarse", "glass", "broken")]
    command = ("tile", listed(here, *good, *bad), "--out", here / "m", "--patch-size", "64")
    status, text = wsc_ray_command(*command)
    assert status == 2
    assert "3 of 8 slides cannot be used; mend them or take them out of the list" in text
    assert "slide bogus: the file says 264.6 um/px, which no scanner makes" in text
    assert "slide coarse: at 2 um/px it is coarser than the 0.5 asked for" in text
    assert "slide broken: " in text
    assert "Traceback" not in text
    assert not (here / "m" / "patches").exists()
    status, text = wsc_ray_command(*command, "--skip-bad")
    assert status == 0, text
    summary = json.loads((here / "m" / "summary.json").read_text())
    assert set(summary["slides_left_out"]) == {"bogus", "coarse", "broken"}
    assert summary["slides_without_tissue"] == ["glass"]
    assert summary["slides_cut"] == len(SLIDES)
    mended = here / "mended.csv"
    mended.write_text(f"path,label,split,mpp\n{here}/bogus.tif,negative,train,0.5\n")
    assert wsc_ray_command("tile", mended, "--out", here / "one", "--patch-size", "64")[0] == 0


def test_patches_that_cannot_be_read_are_never_left_out_unasked(ray_cluster, slides, here):
    """A slide whose first level is damaged and whose overview is whole."""
    data = bytearray((slides.parent / "p1.tif").read_bytes())
    with tifffile.TiffFile(slides.parent / "p1.tif") as file:
        page = file.pages[0]
        for place, size in list(zip(page.dataoffsets, page.databytecounts, strict=True))[5:7]:
            data[place : place + size] = bytes(size)
    (here / "hurt.tif").write_bytes(data)
    good = [(str(slides.parent / f"{name}.tif"), name, label, split) for name, label, split in SLIDES[:2]]
    options = {
        "out": here / "m",
        "patch_size": 64,
        "slides": listed(here, *good, ("hurt.tif", "hurt", "positive", "train")),
    }
    with pytest.raises(DataError, match=r"1 of 1 files cannot be written; mend what is said.*\n.*slide hurt"):
        tile(**options)
    assert not (here / "m" / "summary.json").exists()
    summary = tile(**options, skip_bad=True)
    assert summary["patches_left_out"] > 0
    manifest = open_manifest(str(here / "m"))
    assert sum(group.rows for group in manifest.row_groups) == summary["patches"]
    (told,) = (here / "m" / "unreadable").glob("*.csv")
    rows = list(csv.DictReader(told.open()))
    assert len(rows) == summary["patches_left_out"]
    assert {row["slide_id"] for row in rows} == {"hurt"}


def test_two_scales_of_a_slide_are_rows_of_one_manifest(ray_cluster, slides, here, settings):
    """Patches of each, counted apart; a page and grids of both; training takes them."""
    options = {"slides": slides, "out": here / "m", "mpp": [0.5, 1.0], "patch_size": 64, "row_group_rows": 16}
    summary = tile(**options)
    table = pq.read_table(here / "m" / "patches").to_pandas()
    scales = table.groupby(table.mpp.round(2)).size().to_dict()
    assert scales == {0.5: summary["patches_by_mpp"]["0.5"], 1.0: summary["patches_by_mpp"]["1"]}
    assert set(zip(table.mpp.round(2), table.patch_size_level0, strict=True)) == {(0.5, 64), (1.0, 128)}
    assert set(table.patch_size) == {64}
    tissue = disc(1024)
    for _, row in table.iloc[::7].iterrows():
        side = row.patch_size_level0
        assert tissue[row.y : row.y + side, row.x : row.x + side].mean() > 0.3
    assert manifest_check(manifest=here / "m", all=True)["patches"] == len(table) == summary["patches"]
    for mpp in ("0.5", "1"):
        with h5py.File(here / "m" / "coords" / f"{mpp}mpp" / "p1_patches.h5") as file:
            assert len(file["coords"]) == (table[table.mpp.round(2) == float(mpp)].slide_id == "p1").sum()
    assert "patches at 1 um/px" in (here / "m" / "slides.html").read_text()
    assert tile(**options)["patches_cut"] == 0
    with pytest.raises(RunFolderError, match="`mpp`"):
        tile(**options | {"mpp": 0.5})
    settings["data"]["manifest"] = str(here / "m")
    stream = Stream(settings)
    train = table.slide_id.isin([name for name, _, split in SLIDES if split == "train"])
    assert stream.plan.patches(PURE) + stream.plan.patches(MIXED) == train.sum()
    assert all(batch["views"].shape[1:] == (2, 32, 32, 3) for batch in stream().values())


def test_masks_of_others_say_where_tissue_is(ray_cluster, slides, here, wsc_ray_command):
    """One of GeoJSON, one of PNG; the other slides are looked at. A mask that changes changes the grid."""
    masks = here / "masks"
    masks.mkdir()
    ring = [[0, 0], [256, 0], [256, 128], [0, 128], [0, 0]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (masks / "n1.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    right = np.zeros((128, 128), np.uint8)
    right[:, 64:] = 255
    assert cv2.imwrite(str(masks / "p1.tif.png"), right)
    options = {"slides": slides, "patch_size": 64, "masks": masks}
    assert tile(**options, out=here / "m", dry_run=True)["notes"][-1].startswith("2 of 4 slides have a mask")
    tile(**options, out=here / "m")
    table = pq.read_table(here / "m" / "patches", columns=["slide_id", "x", "y"]).to_pandas()
    own = table[table.slide_id == "n1"]
    assert set(zip(own.x, own.y, strict=True)) == {(x, y) for x in range(0, 256, 64) for y in (0, 64)}
    own = table[table.slide_id == "p1"]
    assert set(zip(own.x, own.y, strict=True)) == {(x, y) for x in range(512, 1024, 64) for y in range(0, 1024, 64)}
    assert len(table[table.slide_id == "n2"]) > 50
    feature["geometry"]["coordinates"] = [[[0, 0], [128, 0], [128, 128], [0, 0]]]
    (masks / "n1.geojson").write_text(json.dumps(feature))
    before = (here / "m" / "slides.html").read_bytes()
    with pytest.raises(RunFolderError, match="or other masks"):
        tile(**options, out=here / "m")
    assert (here / "m" / "slides.html").read_bytes() == before, "the folder still describes its patches"
    (masks / "p1.tif.png").write_bytes(b"none")
    status, text = wsc_ray_command("tile", slides, "--out", here / "n", "--patch-size", "64", "--masks", masks)
    assert status == 2
    assert "slide p1: the mask" in text
    assert "it is no PNG" in text
    assert not (here / "n" / "patches").exists()
    assert "it is no PNG" in (here / "n" / "slides.html").read_text()


def test_nothing_but_glass_is_a_sentence(ray_cluster, here):
    write(here / "glass.tif", np.full((512, 512, 3), 243, np.uint8))
    with pytest.raises(DataError, match=r"none of the 1 slides has a patch with 50% tissue"):
        tile(slides=listed(here, ("glass.tif", "g", "negative", "train")), out=here / "m", patch_size=64)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--mpp", "0"), "--mpp 0: "),
        (("--mpp", "inf"), "--mpp inf: "),
        (("--mpp", "0.5,x"), "--mpp 0.5,x: write numbers with commas between them"),
        (("--mpp", "0.5,0.5"), "--mpp 0.5,0.5: give each scale once"),
        (("--masks", "nowhere"), "nowhere cannot be read"),
        (("--patch-size", "4"), "--patch-size 4: "),
        (("--overlap", "256"), "--overlap 256: "),
        (("--tissue", "1.5"), "--tissue 1.5: "),
        (("--quality", "0"), "--quality 0: "),
        (("--file-rows", "8"), "--row-group-rows: "),
        (("--column", "path"), "write it as NAME=VALUE"),
    ],
)
def test_a_wrong_option_is_a_sentence(slides, here, wsc_ray_command, option, said):
    status, text = wsc_ray_command("tile", slides, "--out", here / "m", *option)
    assert status == 2
    assert text.startswith("wsc-ray: ")
    assert said in text
    assert not (here / "m").exists()


def test_a_killed_command_goes_on_and_ends_with_the_same_manifest(tiled, slides, here):
    """SIGKILL once while slides are looked at or patches cut; then the same command again."""
    command = [sys.executable, "-m", "wsc_ray", "tile", slides, "--out", "m"]
    command += ["--patch-size", "64", "--file-rows", "64", "--row-group-rows", "16"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 400
    while not any((here / "m" / "coords").glob("*.h5")):
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (here / "m" / "summary.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "m" / "summary.json").read_text())["digest"] == tiled[1]["digest"]
    assert "tile: patches" in done.stderr


def test_stored_tiles_make_the_manifest_that_openslide_makes(ray_cluster, here):
    """The same digest: the grids and the bytes of every patch."""
    for number, name in enumerate(("n", "p")):
        write_jpeg_slide(here / f"{name}.svs", [draw(1024, seed=number)], jpeg=Jpeg(rgb=name == "p"))
    slides = listed(here, ("n.svs", "n", "negative", "train"), ("p.svs", "p", "positive", "train"))
    made = [tile(slides=slides, out=here / reader, patch_size=64, reader=reader) for reader in ("openslide", "auto")]
    assert made[0]["patches"] > 100
    assert made[0]["digest"] == made[1]["digest"]
    identities = [json.loads((here / reader / "identity.json").read_text()) for reader in ("openslide", "auto")]
    assert "stored-tiles" in str(identities[1])
    with pytest.raises(RunFolderError, match="reader"):
        tile(slides=slides, out=here / "openslide", patch_size=64)
    assert tile(slides=slides, out=here / "openslide", patch_size=64, reader="openslide")["patches_cut"] == 0


REAL = os.environ.get("WSC_RAY_SLIDES")


@pytest.mark.skipif(not REAL, reason="WSC_RAY_SLIDES names no folder of real slides")
def test_real_slides(ray_cluster, here):
    lines = [f"{REAL}/CMU-1-Small-Region.svs,negative,train,", f"{REAL}/CropBreastSlide.tiff,positive,train,"]
    (here / "s.csv").write_text("\n".join(["path,label,split,mpp", *lines]))
    with pytest.raises(DataError, match=r"(?s)1 of 2 slides.*CropBreastSlide: the file says 264\.6 um/px"):
        tile(slides=here / "s.csv", out=here / "m")
    (here / "s.csv").write_text("\n".join(["path,label,split,mpp", lines[0], lines[1] + "2.0"]))
    summary = tile(slides=here / "s.csv", out=here / "m", mpp=2.0, patch_size=64)
    assert summary["slides_cut"] == 2
    table = pq.read_table(here / "m" / "patches").to_pandas()
    aperio = table[table.slide_id == "CMU-1-Small-Region"]
    assert set(aperio.patch_size_level0) == {257}
    assert aperio.mpp.iloc[0] == pytest.approx(2.0, rel=0.01)
    assert 20 < len(aperio) < 88  # of 8 x 11
