"""Rows that point into slides: the same order, record, stand-ins and features as with the same pixels in the manifest."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from tests.kills import kill_in_the_middle, type_again
from tests.one_process import digest_of_one_process
from tests.slides.drawn import draw
from tests.slides.jpeg_slides import Jpeg, write_jpeg_slide
from tests.stream.test_read import Stream
from tests.tiling.test_run import listed
from wsc_ray.commands import manifest_check, pretrain, tile
from wsc_ray.errors import DataError, ManifestError, RunFolderError
from wsc_ray.features.lots import Lots
from wsc_ray.features.read import read_lot
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.footers import PATCHES
from wsc_ray.manifest.schema import schema_for
from wsc_ray.manifest.write import write_file
from wsc_ray.pixels import PixelSource
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.slides import open_slides
from wsc_ray.slides.opening import open_slide
from wsc_ray.stream.quarantine import from_json
from wsc_ray.stream.record import Recorder, samples_digest

NAMES = ("n1", "n2", "n3", "p1", "p2", "p3")
OPTIONS = {"patch_size": 64, "mpp": 0.499, "row_group_rows": 16, "file_rows": 128}


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    """A list of six slides with JPEG tiles; two are twice as fine, so that patches are shrunk."""
    folder = tmp_path_factory.mktemp("slides")
    rows = []
    for number, name in enumerate(NAMES):
        picture = draw(700, seed=number)
        jpeg = Jpeg(rgb=number % 2 == 1, quality=90)
        if number % 3 == 2:
            picture = cv2.resize(picture, (1400, 1400))
        write_jpeg_slide(folder / f"{name}.svs", [picture], jpeg=jpeg, tile=(128, 96))
        rows.append((f"{name}.svs", name, "negative" if name[0] == "n" else "positive", "train"))
    text = listed(folder, *rows).read_text().splitlines()
    mpps = ["mpp", *("0.2495" if number % 3 == 2 else "0.499" for number in range(len(NAMES)))]
    (folder / "slides.csv").write_text("\n".join(f"{line},{mpp}" for line, mpp in zip(text, mpps, strict=True)))
    return folder / "slides.csv"


@pytest.fixture(scope="module")
def linked(ray_cluster, slides, tmp_path_factory) -> Path:
    """A manifest without pixels."""
    folder = tmp_path_factory.mktemp("linked")
    before = Path.cwd()
    os.chdir(folder)  # where MLflow's store of last resort will lie
    try:
        tile(slides=slides, out="linked", link=True, **OPTIONS)
    finally:
        os.chdir(before)
    return folder / "linked"


@pytest.fixture(scope="module")
def embedded(linked, tmp_path_factory) -> Path:
    """The same patches with their pixels, as OpenSlide reads them, in PNG."""
    return embed_pixels(linked, tmp_path_factory.mktemp("embedded") / "embedded")


def embed_pixels(linked: Path, out: Path, *, broken: tuple[str, int, int] | None = None) -> Path:
    shutil.copytree(linked, out)
    opened = {}
    for path in sorted((out / PATCHES).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        tables = []
        for group in groups:
            images = []
            for row in group.to_pylist():
                slide = opened.setdefault(row["slide_uri"], open_slide(Path(row["slide_uri"]), "openslide"))
                side = row["patch_size_level0"]
                patch = slide.read(row["x"], row["y"], 0, side, side)
                if side != row["patch_size"]:
                    patch = cv2.resize(patch, (row["patch_size"],) * 2, interpolation=cv2.INTER_AREA)
                done, data = cv2.imencode(".png", patch[..., ::-1])
                assert done
                images.append(b"none" if broken and broken == (row["slide_id"], row["x"], row["y"]) else data.tobytes())
            tables.append(group.drop_columns("slide_uri").append_column("image", pa.array(images, pa.binary())))
        schema = schema_for(tables[0].column_names)
        number = int(path.stem.split("-")[-1])
        parts = len(list((out / PATCHES).glob("*.parquet")))
        write_file(pa.fs.LocalFileSystem(), str(path), schema, iter(tables), part=number + 1, parts=parts)
    return out


def recipe(settings: dict, manifest: Path, **stream) -> dict:
    return {**settings, "data": {"manifest": str(manifest)}, "stream": {**settings["stream"], **stream}}


def record(batches: dict, folder: Path) -> str:
    recorder = Recorder()
    for step in sorted(batches):
        recorder.add(batches[step])
    recorder.save(folder, 0)
    return samples_digest(folder)


def same(found: dict, expected: dict) -> None:
    """Two streams feed the same, in the order of positions in the global batch."""
    assert found.keys() == expected.keys()
    for step, batch in expected.items():
        one, other = np.argsort(found[step]["position"]), np.argsort(batch["position"])
        for name in ("views", "slide_id", "x", "y", "label", "position", "parameters"):
            np.testing.assert_array_equal(found[step][name][one], batch[name][other])


def test_rows_name_slides_and_hold_no_pixels(linked, slides):
    table = pq.read_table(linked / PATCHES)
    assert "image" not in table.column_names
    assert set(table["slide_uri"].to_pylist()) == {str(slides.parent / f"{name}.svs") for name in NAMES}
    assert set(table["patch_size_level0"].to_pylist()) == {64, 128}
    assert sum(path.stat().st_size for path in (linked / PATCHES).glob("*")) < 300 * table.num_rows
    report = manifest_check(manifest=linked, all=True)
    assert report["images_decoded"] == report["patches"] == table.num_rows > 150


@pytest.mark.parametrize("workers", [1, 2])
def test_two_epochs_are_those_of_the_same_pixels_in_the_manifest(linked, embedded, settings, tmp_path, workers):
    """Every view, bit for bit, and the digest of the record; taken up in the middle too."""
    straight, held = Stream(recipe(settings, linked)), Stream(recipe(settings, embedded))
    expected = held()
    assert len(expected) == 8
    found = straight(workers)
    same(found, expected)
    assert record(found, tmp_path / "a") == record(expected, tmp_path / "b")
    same(straight(workers, first_step=5), {step: batch for step, batch in expected.items() if step >= 5})


def test_a_damaged_tile_has_the_stand_ins_that_a_damaged_image_has(linked, settings, tmp_path):
    """One tile of a slide is damaged: the patches on it are quarantined, with the tile named, and others stand in."""
    table = pq.read_table(linked / PATCHES).to_pylist()
    row = next(row for row in table if row["slide_id"] == "n1" and row["x"] % 128 == 0 and row["y"] % 96 == 0)
    column, line = row["x"] // 128, row["y"] // 96
    shutil.copytree(linked, tmp_path / "m")
    hurt = tmp_path / "n1.svs"
    shutil.copy(row["slide_uri"], hurt)
    with tifffile.TiffFile(hurt) as file:
        number = line * -(-700 // 128) + column
        offset, count = file.pages[0].dataoffsets[number], file.pages[0].databytecounts[number]
    with hurt.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
    for path in (tmp_path / "m" / PATCHES).glob("*.parquet"):
        with pq.ParquetFile(path) as file:
            groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
            schema, metadata = groups[0].schema, file.schema_arrow.metadata
        with pq.ParquetWriter(path, schema) as writer:
            for group in groups:
                uris = [uri.replace(row["slide_uri"], str(hurt)) for uri in group["slide_uri"].to_pylist()]
                place = group.schema.get_field_index("slide_uri")
                writer.write_table(group.set_column(place, "slide_uri", pa.array(uris)))
            writer.add_key_value_metadata(metadata)
    on_tile = {
        (each["x"], each["y"])
        for each in table
        if each["slide_id"] == "n1"
        and each["x"] < (column + 1) * 128
        and each["x"] + 64 > column * 128
        and each["y"] < (line + 1) * 96
        and each["y"] + 64 > line * 96
    }
    changed = recipe(settings, tmp_path / "m", max_bad_fraction=0.5)
    changed["train"] = {**settings["train"], "epochs": 8}
    stream = Stream(changed)
    found, again = stream(1), stream(2)
    same(again, found)
    bad = [each for batch in found.values() for text in batch["bad"] for each in from_json(text)]
    assert {(each.slide_id, each.x, each.y) for each in bad} <= {("n1", *place) for place in on_tile}
    assert bad
    assert all(f"tile {column}, {line} of level 0 of n1.svs cannot be read" in each.reason for each in bad)
    fed = {
        (slide, x, y)
        for batch in found.values()
        for slide, x, y in zip(batch["slide_id"], batch["x"], batch["y"], strict=True)
    }
    assert not fed & {("n1", *place) for place in on_tile}
    with pytest.raises(ManifestError, match="unreadable images"):
        manifest_check(manifest=tmp_path / "m", all=True)


def test_embedding_sees_the_same_pixels(linked, embedded):
    def pieces(place: Path):
        manifest = open_manifest(str(place))
        for lot in Lots(manifest.runs(), manifest.row_groups, set(NAMES), 1):
            for piece in read_lot(manifest, lot, lambda image: image, threads=2, ahead=2, retries=0):
                yield lot.slides[piece.slide], piece

    count = 0
    for (name, one), (other, expected) in zip(pieces(linked), pieces(embedded), strict=True):
        assert name == other
        np.testing.assert_array_equal(one.pixels, expected.pixels)
        np.testing.assert_array_equal(one.coords, expected.coords)
        assert one.first["patch_size_level0"] == expected.first["patch_size_level0"]
        assert "slide_uri" not in one.first
        count += len(one)
    assert count == open_manifest(str(linked)).rows


def test_training_is_fed_the_same(linked, embedded, settings, tmp_path):
    """Two workers on slides through Ray, and one process on the pixels in the manifest."""
    summary = pretrain(recipe=validate_recipe(recipe(settings, linked, record=True)), out=tmp_path / "run")
    assert summary["steps_done"] == 8
    alone = validate_recipe(recipe(settings, embedded, record=True))
    assert summary["samples_sha256"] == digest_of_one_process(alone, tmp_path / "alone")


@pytest.mark.long
@pytest.mark.cluster
def test_a_killed_command_typed_again_was_fed_the_same(linked, embedded, settings, tmp_path):
    """SIGKILL between two checkpoints of two workers on slides; then the same command, and one process on the pixels."""
    settings["train"] |= {"steps_per_epoch": 30, "checkpoint_every": 7}
    straight = validate_recipe(recipe(settings, linked, record=True))
    (tmp_path / "recipe.yaml").write_text(straight.to_yaml())
    run = tmp_path / "run"
    kill_in_the_middle(tmp_path / "recipe.yaml", run, after=10, steps=60)
    type_again(tmp_path / "recipe.yaml", run)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps_done"] == 60
    alone = validate_recipe(recipe(settings, embedded, record=True))
    assert summary["samples_sha256"] == digest_of_one_process(alone, tmp_path / "alone")


def test_few_slides_stay_open(linked, settings):
    def handles() -> int:
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(link.is_symlink() and os.readlink(link).endswith(".svs") for link in links)

    before = handles()  # other tests of this process may hold some
    Stream(recipe(settings, linked))()
    assert 0 < handles() <= before + 2 * open_slides.KEPT


def test_typing_it_again_does_nothing_and_other_options_are_refused(linked, slides, tmp_path, monkeypatch):
    monkeypatch.chdir(linked.parent)
    assert tile(slides=slides, out=linked, link=True, **OPTIONS)["patches_cut"] == 0
    with pytest.raises(RunFolderError, match="`quality`"):
        tile(slides=slides, out=linked, **OPTIONS)
    moved = tmp_path / "moved"
    shutil.copytree(slides.parent, moved)
    with pytest.raises(RunFolderError, match="the list"):
        tile(slides=moved / "slides.csv", out=linked, link=True, **OPTIONS)
    with pytest.raises(DataError, match="--link: rows that point into slides are read by stored-tiles or openslide"):
        tile(slides=slides, out=tmp_path / "other", link=True, reader="cucim", **OPTIONS)
    assert "link" in json.loads((linked / "summary.json").read_text())


def test_slides_on_an_object_store_are_cut_and_linked_as_those_on_a_disk(linked, slides, s3, tmp_path, monkeypatch):
    """The same rows and pixels, for cut patches and for rows that point to objects; a password does not come into the manifest."""
    monkeypatch.chdir(tmp_path)
    s3.upload(slides.parent, "linked")

    def list_of(**options: bool) -> Path:
        header, *lines = slides.read_text().splitlines()
        uri = s3.uri("linked/NAME", **options)
        path = tmp_path / f"list{len(options)}.csv"
        rows = [line.split(",", 1) for line in lines]
        path.write_text("\n".join([header, *(f"{uri.replace('NAME', name)},{rest}" for name, rest in rows)]))
        return path

    near = tile(slides=slides, out="near", **OPTIONS)
    far = tile(slides=list_of(keys=True), out="far", **OPTIONS)
    assert far["digest"] == near["digest"]
    assert not any(
        "tests-only" in path.read_text(errors="replace") for path in Path("far").rglob("*") if path.is_file()
    )
    assert tile(slides=list_of(keys=True), out="far", **OPTIONS)["looked_at"] == len(NAMES)
    with pytest.raises(DataError, match="holds a password or key"):
        tile(slides=list_of(keys=True), out="no", link=True, **OPTIONS)
    assert not Path("no").exists()
    tile(slides=list_of(), out="linked", link=True, **OPTIONS)
    assert manifest_check(manifest="linked", all=True)["patches"] == near["patches"]
    assert _pixels("linked") == _pixels(linked)


def _pixels(manifest: Path | str) -> str:
    """A digest of the pixels of all rows, as the stream reads them."""
    opened = open_manifest(str(manifest))
    digest = hashlib.sha256()
    source = PixelSource(opened.columns, opened.folder)
    for group in opened.row_groups:
        rows = opened.read_group(group.file, group.row_group, source.columns).to_pylist()
        for image in source.read(rows):
            digest.update(image.tobytes())
    return digest.hexdigest()
