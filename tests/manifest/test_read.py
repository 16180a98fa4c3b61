import gc
import pickle
import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from wsc_ray.cohort import write_cohort
from wsc_ray.commands import manifest_import
from wsc_ray.errors import DataError, ManifestError
from wsc_ray.manifest import Manifest, footers, open_manifest
from wsc_ray.manifest.schema import conform, schema_for
from wsc_ray.manifest.slides_of_rows import slides_of_rows
from wsc_ray.manifest.write import divide, file_name, pack, write_file
from wsc_ray.pixels import PixelSource, decode
from wsc_ray.recipe.sections import Data, Recipe, Stream, Train
from wsc_ray.stream.order import window_picks
from wsc_ray.stream.plan import make_plan

from .cohort import cohort, write

FORMAT_1 = Path(__file__).parents[1] / "data" / "manifest-v1"


def write_manifest(folder: Path, table: pa.Table, *, row_group_rows: int = 4, file_rows: int = 8) -> Path:
    """A manifest as import writes it, rows in the table's order."""
    table = conform(table.sort_by([("split", "ascending"), ("label", "ascending")]))
    write_cohort(folder, slides_of_rows(table))
    split, label = (table[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("split", "label"))
    files = pack(divide(split, label, row_group_rows), file_rows)
    table = table.drop_columns(["patient_id", "label", "split"])
    (folder / "patches").mkdir()
    for number, spans in enumerate(files):
        groups = (table.slice(start, stop - start) for start, stop in spans)
        path = f"{folder}/patches/{file_name(number)}"
        write_file(fs.LocalFileSystem(), path, table.schema, groups, part=number + 1, parts=len(files))
    return folder


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    return open_manifest(write_manifest(tmp_path / "m", cohort()))


def test_row_groups_and_slides(manifest):
    assert len(manifest.files) > 2
    assert manifest.rows == 42
    for group in manifest.row_groups:
        assert manifest.read_group(group.file, group.row_group, ["x"]).num_rows == group.rows
    assert manifest.cohort().texts("slide_id") == [f"s{slide}" for slide in range(6)]
    assert manifest.cohort().texts("split") == ["train"] * 4 + ["test"] * 2


def test_a_manifest_without_its_table_of_slides_is_not_whole(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    assert open_manifest(folder / "patches").cohort().digest() == open_manifest(folder).cohort().digest()
    (folder / "slides.parquet").unlink()
    with pytest.raises(ManifestError, match=r"is not whole: it lacks slides\.parquet"):
        open_manifest(folder).cohort()


def test_format_1_is_read(tmp_path):
    """`tests/data/manifest-v1` was written by wsc-ray 0.1 with rows that repeat what is known of their slides."""
    manifest = open_manifest(FORMAT_1)
    assert manifest.rows_describe_slides
    assert manifest.digest == "4412beca8b687e69d2fc208e521f31fc068374b1570edf097708cdbc08fe7d2e"
    manifest_import(source=FORMAT_1, out=tmp_path / "m", row_group_rows=8, file_rows=24)
    again = open_manifest(tmp_path / "m")
    assert not again.rows_describe_slides
    assert again.cohort().digest() == manifest.cohort().digest()
    columns = ["slide_id", "x", "y", "image"]
    assert [again.read_group(g.file, g.row_group, columns) for g in again.row_groups] == [
        manifest.read_group(g.file, g.row_group, columns) for g in manifest.row_groups
    ]
    for stream in (Stream(by="patch", shards=2), Stream(by="slide", shards=2), Stream(by="patient", shards=2)):
        train = Train(batch_size=4, steps_per_epoch=5, epochs=2)
        recipe = Recipe(data=Data(manifest=str(FORMAT_1)), stream=stream, train=train)
        old, new = (make_plan(each, recipe) for each in (manifest, again))
        assert (old.cohort, old.labels, old.total_steps) == (new.cohort, new.labels, new.total_steps)
        assert [old.groups[kind].values.tolist() for kind in (0, 1)] == [
            new.groups[kind].values.tolist() for kind in (0, 1)
        ]
        for kind in (0, 1):
            picks = [window_picks(plan.geometry, plan.orders[kind], kind, 1, 0, range(2)) for plan in (old, new)]
            assert [each.tolist() for each in picks[0]] == [each.tolist() for each in picks[1]]


def test_only_footers_are_read(tmp_path):
    """Everything in front of the footers is overwritten: opening and planning do not notice, reading rows does."""
    folder = write_manifest(tmp_path / "m", cohort())
    expected = open_manifest(folder)
    for path in (folder / "patches").iterdir():
        data = path.read_bytes()
        footer = 8 + int.from_bytes(data[-8:-4], "little")
        path.write_bytes(b"\xff" * (len(data) - footer) + data[-footer:])
    found = open_manifest(folder)
    assert found.row_groups == expected.row_groups
    assert found.digest == expected.digest
    with pytest.raises(DataError, match="cannot be read"):
        found.read_group(0, 0)


def test_a_long_footer_takes_a_second_read(tmp_path, monkeypatch):
    folder = write_manifest(tmp_path / "m", cohort())
    expected = open_manifest(folder)
    monkeypatch.setattr(footers, "_TAIL", 16)
    assert open_manifest(folder).row_groups == expected.row_groups


def test_a_footer_goes_when_it_has_been_read(tmp_path):
    """Footers that wait for Python's collector took 130 MB more for ten million rows."""
    path = next((write_manifest(tmp_path / "m", cohort()) / "patches").glob("*.parquet"))
    footer = footers.read_footer_bytes(fs.LocalFileSystem(), str(path))
    footers.read_footer(footer, str(path))  # what is made once, such as caches of imports
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        footers.read_footer(footer, str(path))
        gc.collect()  # other threads of this process may leave something, too
        assert [thing for thing in gc.garbage if type(thing).__module__.startswith("pyarrow")] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_read_group_gives_columns_as_asked(manifest):
    table = manifest.read_group(0, 0, ["y", "slide_id", "image"])
    assert table.schema == pa.schema([("y", pa.int64()), ("slide_id", pa.string()), ("image", pa.binary())])
    assert manifest.read_group(0, 0).column_names == list(manifest.columns)
    assert decode(table["image"][0].as_py()).shape == (8, 8, 3)
    assert manifest.pixels == "image"


def test_read_rows_says_where_rows_are(manifest):
    rows = manifest.read_rows(["slide_id", "x"])
    assert rows.num_rows == 42
    for row in rows.slice(20, 5).to_pylist():
        there = (
            manifest.read_group(row["file"], row["row_group"], ["slide_id", "x"]).slice(row["row"], 1).to_pylist()[0]
        )
        assert there == {"slide_id": row["slide_id"], "x": row["x"]}
    assert set(manifest.read_rows().column_names) == {*manifest.columns, "file", "row_group", "row"} - {"image"}


def test_it_pickles_small_and_reads_on(manifest):
    data = pickle.dumps(manifest)
    assert len(data) < 2000
    again = pickle.loads(data)  # noqa: S301
    assert again.row_groups == manifest.row_groups
    assert again.digest == manifest.digest
    assert again.read_group(1, 0).equals(manifest.read_group(1, 0))


def test_a_relative_path_holds_in_another_folder(tmp_path, monkeypatch):
    write_manifest(tmp_path / "m", cohort())
    monkeypatch.chdir(tmp_path)
    manifest = open_manifest("m")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(manifest)).read_group(0, 0).num_rows == 4  # noqa: S301


def test_digest_is_of_content_and_row_groups(tmp_path):
    first = open_manifest(write_manifest(tmp_path / "a", cohort()))
    assert open_manifest(write_manifest(tmp_path / "b", cohort())).digest == first.digest
    assert open_manifest(write_manifest(tmp_path / "c", cohort(), row_group_rows=5)).digest != first.digest
    changed = cohort().set_column(8, "mpp", pa.array([0.25] * 42))
    assert open_manifest(write_manifest(tmp_path / "d", changed)).digest != first.digest


def test_foreign_files_with_other_types_are_read(tmp_path):
    one_label = cohort(2).filter(pa.array([True] * 7 + [False] * 7))
    table = one_label.set_column(4, "x", one_label["x"].cast(pa.int32()))
    table = table.set_column(0, "slide_id", table["slide_id"].dictionary_encode())
    table = table.set_column(2, "label", pa.array([1] * 7, pa.int8()))
    path = write(table, tmp_path / "foreign" / "deep" / "a.parquet")
    write(table, tmp_path / "foreign" / ".unfinished" / "b.parquet")  # hidden: no part of it
    for uri in (tmp_path / "foreign", path):
        manifest = open_manifest(uri)
        assert manifest.files == (path,)
        assert manifest.cohort().texts("label") == ["1"]
        assert manifest.read_group(0, 0, ["x", "slide_id", "label"]).to_pylist()[1] == {
            "x": 8,
            "slide_id": "s0",
            "label": "1",
        }
        assert manifest.read_rows(["slide_id", "label"])["label"].to_pylist() == ["1"] * 7
    digest = open_manifest(path).digest
    write(table.set_column(5, "y", pa.array([9] * 7)), Path(path))
    assert open_manifest(path).digest != digest


def test_image_uris_start_at_the_manifest(tmp_path):
    table = cohort(1).drop_columns("image").append_column("image_uri", pa.array(["images/a.png"] * 7))
    (tmp_path / "m" / "images").mkdir(parents=True)
    (tmp_path / "m" / "images" / "a.png").write_bytes(b"a")
    write(table, tmp_path / "m" / "m.parquet")
    for uri in (tmp_path / "m", tmp_path / "m" / "m.parquet"):
        manifest = open_manifest(uri)
        assert manifest.pixels == "image_uri"
        source = PixelSource([manifest.pixels], manifest.folder)
        assert source.fetch(manifest.read_group(0, 0).to_pylist())[0] == b"a"


def test_another_filesystem(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/m", recursive=True)
    try:
        manifest = open_manifest("memory://bucket/m")
        assert manifest.row_groups == open_manifest(folder).row_groups
        assert manifest.read_group(0, 0).num_rows == 4
        assert manifest.folder == "memory://bucket/m"
    finally:
        memory.rm("/bucket", recursive=True)


def refused(uri, said: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(said)) as raised:
        open_manifest(uri)
    assert "\n" not in str(raised.value)


def test_what_is_no_manifest_is_refused(tmp_path):
    refused(tmp_path / "gone", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no .parquet file")
    refused("nosuch://a/b", "nosuch://a/b cannot be opened")
    for name, data in (
        ("text", b"slide_id,label\n" * 9),
        ("short", b"PAR1"),
        ("bad", b"PAR1" + b"\0" * 20 + b"\x10\0\0\0PAR1"),
    ):
        (tmp_path / f"{name}.parquet").write_bytes(data)
        refused(tmp_path / f"{name}.parquet", "Parquet file")


def test_a_cut_file_is_refused(tmp_path):
    path = Path(write(cohort(1), tmp_path / "a.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "is not a whole Parquet file")


def test_missing_columns_are_named(tmp_path):
    path = write(cohort(1).drop_columns(["label", "mpp", "image"]), tmp_path / "a.parquet")
    refused(path, "lacks the columns label, mpp, one of image, image_uri, slide_uri; `wsc-ray manifest import`")


def test_mixed_row_groups_are_refused(tmp_path):
    refused(write(cohort(), tmp_path / "a.parquet"), "1 row groups of")
    refused(tmp_path / "a.parquet", "mix splits or slide labels, or have no statistics")
    refused(
        write(cohort(1), tmp_path / "b.parquet", write_statistics=False), "`wsc-ray manifest import` writes it anew"
    )


def test_a_newer_format_is_refused(tmp_path):
    table = cohort(1).replace_schema_metadata({"wsc_ray.format": "3", "wsc_ray.creator": "wsc-ray 9"})
    refused(write(table, tmp_path / "a.parquet"), "has manifest format 3 and this wsc-ray reads up to 2; upgrade it")


def test_a_missing_part_is_noticed(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    last = sorted((folder / "patches").iterdir())[-1]
    last.unlink()
    refused(folder, "is not whole: it lacks part")
    refused(folder / "patches", "is not whole")


def test_metadata_says_format_creator_and_digest(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    metadata = pq.read_metadata(folder / "patches" / "part-00000.parquet").metadata
    assert metadata[b"wsc_ray.format"] == b"2"
    assert metadata[b"wsc_ray.creator"].startswith(b"wsc-ray ")
    assert re.fullmatch(rb"[0-9a-f]{64}", metadata[b"wsc_ray.digest"])
    names = set(cohort().column_names) - {"patient_id", "label", "split"}
    assert pq.read_table(folder / "patches").schema.names == schema_for(names).names


def test_a_file_that_goes_is_a_data_error(tmp_path, manifest):
    manifest.read_group(0, 0)
    Path(manifest.files[0]).unlink()
    with pytest.raises(DataError, match=r"part-00000.parquet, row group 0 cannot be read"):
        manifest.read_group(0, 0)
