import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from wsc_ray.commands import manifest_check, manifest_import
from wsc_ray.errors import ManifestError, RunFolderError
from wsc_ray.files import read_json
from wsc_ray.manifest import open_manifest
from wsc_ray.pixels import PixelSource

from .cohort import SIZE, cohort, png, write, write_images

NAMES = {"1": "positive", "0": "negative"}


@pytest.fixture
def raw(tmp_path) -> Path:
    """Somebody's table: labels as int8, no patch size and level, an extra column, the pixels in two row groups."""
    table = cohort().drop_columns(["patch_size", "level"])
    labels = pa.array([int(label == "positive") for label in table["label"].to_pylist()], pa.int8())
    table = table.set_column(2, "slide_label", labels).append_column("stain", pa.array(["H&E"] * 42))
    return Path(write(table, tmp_path / "raw.parquet", row_group_size=25))


def take(raw: Path, out: Path, **settings) -> dict:
    return manifest_import(
        **{"source": raw, "out": out, "columns": {"label": "slide_label"}, "label_names": NAMES} | settings
    )


def rows_of(out: Path) -> list[dict]:
    """Every patch, with what is known of its slide."""
    slides = {row["slide_id"]: row for row in pq.read_table(out / "slides.parquet").to_pylist()}
    return [slides[row["slide_id"]] | row for row in pq.read_table(out / "patches").to_pylist()]


def by_place(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (row["slide_id"], row["x"]))


def test_every_patch_arrives_with_its_pixels(raw, tmp_path):
    summary = take(raw, tmp_path / "out", row_group_rows=4, file_rows=10)
    names = ["slide_id", "patient_id", "label", "split", "x", "y", "patch_size", "level", "mpp", "image"]
    assert by_place(rows_of(tmp_path / "out")) == by_place(cohort().select(names).to_pylist())
    assert summary == read_json(tmp_path / "out" / "summary.json")
    assert (summary["patches"], summary["slides"], summary["patients"]) == (42, 6, 6)
    assert summary["splits"]["train"]["positive"] == {"patches": 14, "slides": 2, "patients": 2}
    assert summary["patches_uri"] == f"{tmp_path}/out/patches"
    assert sorted(os.listdir(tmp_path / "out")) == ["patches", "slides.parquet", "summary.json"]


def test_layout(raw, tmp_path):
    summary = take(raw, tmp_path / "out", row_group_rows=4, file_rows=10)
    manifest = open_manifest(tmp_path / "out")
    assert summary["files"] == len(manifest.files) > 3
    assert summary["row_groups"] == len(manifest.row_groups)
    assert summary["digest"] == manifest.digest
    assert "label" not in manifest.columns
    of_slide = {row["slide_id"]: (row["split"], row["label"]) for row in manifest.cohort().slides.to_pylist()}
    runs = manifest.runs()
    cells = [of_slide[runs.slides[slide]] for slide in runs.slide]
    assert cells == sorted(cells)
    assert all(len({cells[i] for i in np.flatnonzero(runs.group == g)}) == 1 for g in range(len(manifest.row_groups)))
    assert all(group.rows <= 4 for group in manifest.row_groups)
    assert all(pq.read_metadata(path).num_rows <= 10 for path in manifest.files)
    slides = manifest.read_rows(["slide_id"])["slide_id"].to_pylist()
    assert len([place for place in range(42) if place == 0 or slides[place] != slides[place - 1]]) == 6


def test_the_same_again_gives_the_same_manifest(raw, tmp_path):
    first = take(raw, tmp_path / "a")["digest"]
    assert take(raw, tmp_path / "b")["digest"] == first
    assert take(raw, tmp_path / "c", row_group_rows=4)["digest"] != first


def test_a_manifest_can_be_imported_again(raw, tmp_path):
    take(raw, tmp_path / "a", row_group_rows=4, file_rows=10)
    again = manifest_import(source=tmp_path / "a", out=tmp_path / "b")
    assert by_place(rows_of(tmp_path / "b")) == by_place(rows_of(tmp_path / "a"))
    assert again["files"] == 1


def test_a_foreign_folder_with_mixed_row_groups_becomes_a_manifest(tmp_path):
    for number, start in enumerate((0, 20)):
        write(cohort().slice(start, 20 + 2 * number), tmp_path / "in" / f"{number}.parquet")
    with pytest.raises(ManifestError, match="manifest import"):
        open_manifest(tmp_path / "in")
    manifest_import(source=tmp_path / "in", out=tmp_path / "out")
    assert open_manifest(tmp_path / "out").rows == 42


def test_images_of_a_hugging_face_table(raw, tmp_path):
    table = pq.read_table(raw)
    structs = pa.array([{"bytes": data, "path": None} for data in table["image"].to_pylist()])
    write(table.set_column(table.column_names.index("image"), "image", structs), tmp_path / "hf.parquet")
    take(tmp_path / "hf.parquet", tmp_path / "out")
    take(raw, tmp_path / "same")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "same")


@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
def test_csv_with_mapping_constants_and_files(tmp_path, name):
    table = cohort(4, 3, label=["1.0"] * 3 + ["0.0"] * 3 + ["1.0"] * 3 + ["0.0"] * 3)
    paths = write_images(tmp_path / "images", table)
    columns = {
        "ID": [f"00{slide[1]}" for slide in table["slide_id"].to_pylist()],
        "Grade": table["label"],
        "X": table["x"],
        "y": table["y"],
    }
    text = pa.table({**columns, "File": [f"images/{path}" for path in paths], "image": paths})
    pacsv.write_csv(text, tmp_path / name, pacsv.WriteOptions(delimiter="\t" if name.endswith("tsv") else ","))
    mapping = {"slide_id": "ID", "patient_id": "ID", "label": "Grade", "x": "X", "image_uri": "File"}
    manifest_import(
        source=tmp_path / name,
        out=tmp_path / "out",
        columns=mapping,
        constants={"split": "train", "mpp": 0.5},
        label_names=NAMES,
    )
    rows = by_place(rows_of(tmp_path / "out"))
    assert {row["slide_id"]: row["label"] for row in rows} == {
        "000": "positive",
        "001": "negative",
        "002": "positive",
        "003": "negative",
    }
    assert [row["image"] for row in rows] == [png(number) for number in range(12)]
    assert {(row["patch_size"], row["mpp"], row["split"]) for row in rows} == {(SIZE, 0.5, "train")}


@pytest.mark.parametrize("link", [False, True])
def test_a_list_of_files(tmp_path, link, monkeypatch):
    paths = write_images(tmp_path / "root", cohort(2, 3))
    for slide, name in ((0, "negative"), (1, "positive")):
        lines = [path for path in paths if path.startswith(f"s{slide}/")]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    lists = [f"{name}.txt,label={name},split=train" for name in ("negative", "positive")]
    summary = manifest_import(source="root", lists=lists, out=tmp_path / "out", link=link)
    assert summary["notes"] == ["every slide counts as a patient of its own, since the lists name no patients"]
    assert summary["pixels"] == ("image_uri" if link else "image")
    manifest = open_manifest(tmp_path / "out")
    rows = by_place(rows_of(tmp_path / "out"))
    assert PixelSource([manifest.pixels], manifest.folder).fetch(rows) == [png(number) for number in range(6)]
    assert ("image" in rows[0]) != link
    assert {(row["label"], row["patch_size"]) for row in rows} == {("negative", SIZE), ("positive", SIZE)}
    if link:
        assert rows[0]["image_uri"] == f"{tmp_path}/root/s0/patch_0_0.png"


def test_an_object_store(raw, tmp_path):
    memory = fsspec.filesystem("memory")
    try:
        memory.put(str(raw), "/bucket/raw.parquet")
        summary = take("memory://bucket/raw.parquet", "memory://bucket/out")
        assert summary["patches_uri"] == "memory://bucket/out/patches"
        assert summary.items() <= json.loads(memory.cat("/bucket/out/summary.json")).items()
        assert open_manifest("memory://bucket/out").digest == take(raw, tmp_path / "out")["digest"]
        with pytest.raises(RunFolderError, match="is not empty"):
            take(raw, "memory://bucket/out")
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_taken_folder_is_not_touched(raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty; give a new folder"):
        take(raw, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["mine"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"columns": {}}, "`label` is missing"),
        ({"columns": {"label": "slide_lable"}}, "did you mean `slide_label`?"),
        ({"label_names": {"1": "positive"}}, "not for '0'"),
        ({"constants": {"level": -1}}, "level must be 0 or more"),
        ({"constants": {"slide_id": "a/b"}}, "slide with two labels"),
        ({"source": "gone.parquet"}, "does not exist"),
        ({"source": "gone.csv"}, "does not exist; give a CSV, TSV or Parquet table"),
        ({"source": "nosuch://a/b.csv"}, "cannot be opened"),
        ({"row_group_rows": 0}, "give 1 or more"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(raw, tmp_path, settings, said):
    with pytest.raises(ManifestError) as raised:
        take(raw, tmp_path / "out", **settings)
    assert said in str(raised.value)
    assert os.listdir(tmp_path) == ["raw.parquet"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            [f"a/{row}.png" for row in range(42)],
            "holds text, not the bytes of image files; if the text is paths or URIs",
        ),
        (list(range(42)), "holds int64, not the bytes of image files"),
        ([[0.5, 1.0]] * 42, "holds list<element: double>, not the bytes"),
        ([{"bytes": "text", "path": None}] * 42, "base64 must be decoded to bytes first"),
        ([{"path": "a.png"}] * 42, "holds struct<path: string>, not the bytes"),
    ],
)
def test_an_image_column_that_holds_no_bytes(raw, tmp_path, images, said):
    table = pq.read_table(raw)
    write(table.set_column(table.column_names.index("image"), "image", pa.array(images)), raw)
    with pytest.raises(ManifestError, match=r"cannot be imported: 1 problem\n  `image`: the column `image` ") as raised:
        take(raw, tmp_path / "out")
    assert said in str(raised.value)
    assert os.listdir(tmp_path) == ["raw.parquet"]


def test_an_image_column_that_holds_no_bytes_in_a_later_file(tmp_path):
    table = cohort()
    write(table.slice(0, 28), tmp_path / "raw" / "a.parquet")
    text = table.slice(28).set_column(table.column_names.index("image"), "image", pa.array(["a.png"] * 14))
    write(text, tmp_path / "raw" / "b.parquet")
    with pytest.raises(ManifestError, match=r"^row 28 and on: `image`: the column `image` holds text"):
        manifest_import(source=tmp_path / "raw", out=tmp_path / "out")
    assert os.listdir(tmp_path) == ["raw"]


@pytest.mark.parametrize(
    "kind",
    [pa.large_binary(), pa.list_(pa.uint8()), pa.struct([("bytes", pa.binary()), ("path", pa.string())])],
    ids=str,
)
def test_other_columns_of_bytes_are_images(raw, tmp_path, kind):
    table = pq.read_table(raw)
    images = table["image"].to_pylist()
    if pa.types.is_struct(kind):
        values = [{"bytes": image, "path": "a.png"} for image in images]
    else:
        values = [list(image) for image in images] if pa.types.is_list(kind) else images
    write(table.set_column(table.column_names.index("image"), "image", pa.array(values, kind)), raw)
    take(raw, tmp_path / "out")
    assert [row["image"] for row in by_place(rows_of(tmp_path / "out"))] == images


def test_problems_of_the_rows_come_together(tmp_path):
    source = write(cohort(3, 3, x=[0] * 9, patient_id=["p"] * 9), tmp_path / "raw.parquet")
    with pytest.raises(
        ManifestError, match=r"cannot be imported: 2 problems\n  patient with two splits.*\n  duplicate patches"
    ):
        manifest_import(source=source, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("image", "said"),
    [(None, "row 9 has no image: `image` is null or empty"), (b"junk", "row 7 (slide s1), whose size becomes")],
)
def test_nothing_is_left_of_an_import_that_fails_midway(raw, tmp_path, image, said):
    table = pq.read_table(raw)
    images = table["image"].to_pylist()
    images[7 if image else 9] = image
    write(table.set_column(table.column_names.index("image"), "image", pa.array(images)), raw)
    with pytest.raises(ManifestError) as raised:
        take(raw, tmp_path / "out", row_group_rows=4, file_rows=4)
    assert said in str(raised.value)
    assert os.listdir(tmp_path) == ["raw.parquet"]


def test_a_file_that_goes_while_it_is_read(tmp_path):
    paths = write_images(tmp_path / "root", cohort(1))
    (tmp_path / "list.txt").write_text("\n".join(paths))
    os.chmod(tmp_path / "root" / paths[3], 0)
    if os.access(tmp_path / "root" / paths[3], os.R_OK):  # root reads everything
        (tmp_path / "root" / paths[3]).unlink()
        (tmp_path / "root" / paths[3]).symlink_to(tmp_path / "root")
    with pytest.raises(ManifestError, match=r"patch_24_0.png"):
        manifest_import(
            source=tmp_path / "root", lists=[f"{tmp_path}/list.txt,label=n,split=train"], out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_killed_import_can_be_repeated(raw, tmp_path):
    """The process is killed after its first file; what is left is no manifest and goes with the next import."""
    program = """
import sys, time
from wsc_ray.manifest import importing, write
whole = write.write_file
def slow(*args, **settings):
    whole(*args, **settings)
    print("written", flush=True)
    time.sleep(60)
write.write_file = slow
importing.import_manifest(
    source=sys.argv[1], out=sys.argv[2], columns={"label": "slide_label"}, label_names={"1": "positive", "0": "negative"},
    file_rows=10, row_group_rows=4,
)
"""
    command = [sys.executable, "-c", program, str(raw), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    left = [name for name in os.listdir(tmp_path) if name != "raw.parquet"]
    assert len(left) == 1
    assert left[0].startswith(".out.unfinished-")
    with pytest.raises(ManifestError, match="is not whole: it lacks part 2"):
        open_manifest(tmp_path / left[0])
    with pytest.raises(ManifestError, match=r"holds no .parquet file"):
        open_manifest(write_folder(tmp_path / "other", tmp_path / left[0]))
    take(raw, tmp_path / "out", file_rows=10, row_group_rows=4)
    assert open_manifest(tmp_path / "out").rows == 42
    assert sorted(os.listdir(tmp_path)) == ["other", "out", "raw.parquet"]


def write_folder(folder: Path, inner: Path) -> Path:
    """A folder that holds a copy of a hidden one."""
    folder.mkdir()
    subprocess.run(["cp", "-r", str(inner), str(folder / inner.name)], check=True)
    return folder


@pytest.mark.skipif("WSC_RAY_COHORTS" not in os.environ, reason="WSC_RAY_COHORTS names no folder of cohorts")
def test_a_real_cohort(tmp_path):
    source = Path(os.environ["WSC_RAY_COHORTS"]) / "pcam" / "patches.parquet"
    start = time.monotonic()
    summary = take(source, tmp_path / "out")
    assert time.monotonic() - start < 120
    assert (summary["patches"], summary["slides"]) == (9600, 384)
    assert {split: labels["positive"]["slides"] for split, labels in summary["splits"].items()} == {
        "train": 128,
        "val": 32,
        "test": 32,
    }
    manifest = open_manifest(tmp_path / "out")
    assert set(manifest.read_rows(["patch_size"])["patch_size"].to_pylist()) == {96}
    assert manifest_check(manifest=tmp_path / "out", sample=200)["digest"] == summary["digest"]
