"""Runs of slides, read from footers only."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from wsc_ray.errors import ManifestError
from wsc_ray.manifest import open_manifest
from wsc_ray.manifest.read import open_any
from wsc_ray.manifest.runs import encode_runs, find_runs
from wsc_ray.manifest.schema import CHECKSUM_KEY, RUNS_KEY

from .cohort import cohort, write
from .test_read import write_manifest


def expanded(runs):
    """(row group, row inside it, number of its slide) of every row."""
    return [
        (group, start + row, code)
        for group, start, rows, code in zip(runs.group, runs.start, runs.rows, runs.slide, strict=True)
        for row in range(rows)
    ]


@pytest.mark.parametrize("row_group_rows", [4, 100])
def test_runs_are_those_of_the_rows(tmp_path, row_group_rows):
    manifest = open_manifest(write_manifest(tmp_path / "m", cohort(8, 5), row_group_rows=row_group_rows, file_rows=16))
    assert len(manifest.files) > 1
    runs = manifest.runs()
    expected, numbers = [], {}
    for index, group in enumerate(manifest.row_groups):
        slides = manifest.read_group(group.file, group.row_group, ["slide_id"])["slide_id"].to_pylist()
        expected += [(index, row, numbers.setdefault(slide, len(numbers))) for row, slide in enumerate(slides)]
    assert expanded(runs) == expected
    assert runs.slides == tuple(numbers)
    assert runs.patches() == {f"s{slide}": 5 for slide in range(8)}


def test_runs_are_read_without_the_rows(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    expected = expanded(open_manifest(folder).runs())
    for path in (folder / "patches").iterdir():
        data = path.read_bytes()
        footer = 8 + int.from_bytes(data[-8:-4], "little")
        path.write_bytes(b"\xff" * (len(data) - footer) + data[-footer:])
    assert expanded(open_manifest(folder).runs()) == expected


def test_neighbours_of_another_slide_are_another_run():
    table = pa.table({"slide_id": ["a", "a", "b", "b", "a"]})
    assert find_runs(table) == [("a", 2), ("b", 2), ("a", 1)]
    assert find_runs(table.slice(0, 0)) == []
    told = json.loads(encode_runs([find_runs(table.slice(0, 3)), find_runs(table.slice(3))]))
    assert told == {"slides": ["a", "b"], "groups": [[0, 2, 1, 1], [1, 1, 0, 1]]}


def test_names_are_kept_once_a_file():
    runs = [find_runs(pa.table({"slide_id": ["slide"] * 9}))] * 100
    assert encode_runs(runs).count(b"slide") == 2  # the key and the name


def test_statistics_of_another_programs_file_give_its_runs(tmp_path):
    for slide in range(3):
        write(cohort(3).slice(slide * 7, 7), tmp_path / "m" / f"{slide}.parquet")
    runs = open_manifest(tmp_path / "m").runs()
    assert [(group, rows) for group, rows in zip(runs.group, runs.rows, strict=True)] == [(0, 7), (1, 7), (2, 7)]
    assert runs.slide.tolist() == [0, 1, 2]


def test_what_footers_do_not_tell_is_read_from_the_rows(tmp_path):
    """A file of another program whose one row group holds two slides, in pieces."""
    slides = ["b"] * 3 + ["a"] * 5 + ["b"] * 6
    table = cohort(2, label=["negative"] * 14, split=["train"] * 14, slide_id=slides, patient_id=slides)
    runs = open_manifest(write(table, tmp_path / "a.parquet", row_group_size=10)).runs()
    assert runs.slides == ("b", "a")
    found = zip(runs.group, runs.start, runs.rows, runs.slide, strict=True)
    assert [tuple(map(int, each)) for each in found] == [(0, 0, 3, 0), (0, 3, 5, 1), (0, 8, 2, 0), (1, 0, 4, 0)]


@pytest.mark.parametrize(
    "told", ["no json", "[]", '{"slides": [], "groups": [[0, 7]]}', '{"slides": [["s0", "p0"]], "groups": [[0, 6]]}']
)
def test_metadata_that_does_not_fit_the_rows_is_refused(tmp_path, told):
    table = cohort(1).replace_schema_metadata({RUNS_KEY: told})
    path = write(table, tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="import its source anew"):
        open_manifest(path).runs()


def test_the_digest_does_not_depend_on_them(tmp_path):
    folder = write_manifest(tmp_path / "m", cohort())
    digest = open_manifest(folder).digest
    for path in sorted((folder / "patches").iterdir()):
        metadata = dict(pq.read_metadata(path).metadata)
        assert metadata.pop(RUNS_KEY)
        assert metadata.pop(CHECKSUM_KEY)
        groups = [
            pq.ParquetFile(path).read_row_group(number) for number in range(pq.read_metadata(path).num_row_groups)
        ]
        with pq.ParquetWriter(
            Path(path), groups[0].schema.remove_metadata(), filesystem=fs.LocalFileSystem()
        ) as writer:
            for group in groups:
                writer.write_table(group)
            writer.add_key_value_metadata({key: value for key, value in metadata.items() if key != b"ARROW:schema"})
    older = open_manifest(folder)
    assert older.digest == digest
    assert np.sum([group.rows for group in older.row_groups]) == 42


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"wsc_ray.part": "1/9999999999"}, None),
        ({"wsc_ray.part": "1/999999999"}, "it lacks part 2 of 999999999"),
        ({"wsc_ray.part": "2²/3".encode()}, "it lacks part"),
        ({"wsc_ray.format": "9" * 5000}, "has manifest format 9{40} and"),
        ({"wsc_ray.digest": b"\xff" * 64}, None),
        ({RUNS_KEY: b"[" * 100_000}, "import its source anew"),
        ({RUNS_KEY: b'{"slides": ["s0"], "groups": [[0, 99999999999999999999]]}'}, "import its source anew"),
        ({RUNS_KEY: b'{"slides": ["s0"], "groups": [[5, 7]]}'}, "import its source anew"),
        ({RUNS_KEY: b'{"slides": ["s0"], "groups": [[0, -3, 0, 10]]}'}, "import its source anew"),
        ({RUNS_KEY: b'{"slides": ["\\ud800"], "groups": [[0, 7]]}'}, "import its source anew"),
        ({"wsc_ray.format": "9", "wsc_ray.creator": b"\x1b[31m\n!"}, r"written by \?\[31m\?!\)$"),
    ],
)
def test_what_a_footer_may_hold_is_a_sentence_or_left_aside(tmp_path, metadata, said):
    path = write(cohort(1).replace_schema_metadata(metadata), tmp_path / "a.parquet")
    if said is None:
        assert open_manifest(path).rows == 7
        return
    with pytest.raises(ManifestError, match=said):
        open_manifest(path).runs()


def test_rows_without_a_slide_are_refused(tmp_path):
    ids = [None, *cohort(1)["slide_id"].to_pylist()[1:]]
    path = write(cohort(1, slide_id=ids), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="has 1 rows without a slide_id"):
        open_manifest(path).runs()


@pytest.mark.parametrize("ids", [[1.0, 2.0, 3.0], [" a ", "b", "c "], ["s1", "NA", "s3"]])
def test_statistics_and_rows_give_slides_the_same_names(tmp_path, ids):
    """In a file of another program with a row group for each slide, and in one with a single row group."""
    rows = [slide for slide in ids for _ in range(7)]
    found = []
    for size in (7, 21):
        path = write(cohort(3, slide_id=rows), tmp_path / f"{size}.parquet", row_group_size=size)
        try:
            found.append(open_any(path).runs().patches())
        except ManifestError as error:
            found.append(str(error).replace(path, "file"))
    assert found[0] == found[1]
