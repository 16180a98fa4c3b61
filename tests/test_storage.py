"""Files wherever they live, and files written in one step."""

import fsspec
import pytest
from pyarrow import fs

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.files import atomic, is_file_name, read_summary, write_summary
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import filesystem


def test_local_paths_and_uris(tmp_path):
    for text in (tmp_path, f"file://{tmp_path}"):
        found, path = filesystem(text)
        assert isinstance(found, fs.LocalFileSystem)
        assert path == str(tmp_path)


def test_what_fsspec_knows():
    with fsspec.open("memory://bucket/a.txt", "wb") as file:
        file.write(b"x")
    found, path = filesystem("memory://bucket/a.txt")
    assert found.open_input_stream(path).read() == b"x"


def test_an_unknown_scheme_is_a_sentence():
    with pytest.raises(DataError, match="nonsense://"):
        filesystem("nonsense://bucket")


def test_atomic_leaves_all_or_nothing(tmp_path):
    path = tmp_path / "a" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text(f"half, {1 / 0}")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("name", ["slide_1", "TCGA-A6-2671 (2)", "a.b", "1"])
def test_ids_that_can_be_file_names(name):
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\n", "x" * 201, "a\0", "end.", "C:x"]
)
def test_ids_that_cannot(name):
    assert not is_file_name(name)


def test_summaries(tmp_path):
    assert read_summary(tmp_path) is None
    assert (
        write_summary(tmp_path, "embed", {"slides": 3}) == read_summary(tmp_path) == {"command": "embed", "slides": 3}
    )


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match=r"no readable run\.json"):
        RunFolder(tmp_path).read_info()
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="another format"):
        RunFolder(tmp_path).read_info()
    with pytest.raises(RunFolderError, match="not a URI"):
        RunFolder("s3://bucket/run")
