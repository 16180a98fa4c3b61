"""Filesystems of paths and URIs, and paths on object stores."""

import copy
import os
from pathlib import Path

import fsspec
import pytest
from pyarrow import fs

from wsc_ray.errors import DataError, RunFolderError
from wsc_ray.storage import StoragePath, as_path, check_store, child, filesystem, parent
from wsc_ray.uris import shown

QUERY = "?endpoint_override=127.0.0.1:9&scheme=http"


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


def test_as_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert as_path("runs/a") == Path.cwd() / "runs" / "a"
    assert as_path("~/a") == Path("/home/somebody/a")
    assert as_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    path = as_path("s3://bucket/a")
    assert isinstance(path, StoragePath)
    assert as_path(path) is path
    assert as_path(str(path)) == path


def test_a_query_stays_at_the_end():
    assert child(f"s3://bucket/a{QUERY}", "b") == f"s3://bucket/a/b{QUERY}"
    assert parent(f"s3://bucket/a/b{QUERY}") == f"s3://bucket/a{QUERY}"
    path = as_path(f"s3://bucket/a/{QUERY}") / "b" / "c.tar.gz"
    assert str(path) == f"s3://bucket/a/b/c.tar.gz{QUERY}"
    assert (path.name, path.stem, path.suffix) == ("c.tar.gz", "c.tar", ".gz")
    assert path.parent == as_path(f"s3://bucket/a/b{QUERY}")
    assert str(path.parent.parent.parent) == f"s3://bucket{QUERY}" == str(path.parent.parent.parent.parent)


def test_paths_are_values():
    path = as_path(f"s3://bucket/a{QUERY}") / "b c"
    assert copy.deepcopy(path) == path
    assert {path, as_path(str(path))} == {path}
    assert path != as_path("s3://bucket/a/b c")
    assert path != str(path)
    with pytest.raises(TypeError):
        os.fspath(path)


def test_no_password_is_shown():
    assert shown("http://me:secret@127.0.0.1:5000/x") == "http://127.0.0.1:5000/x"
    path = as_path(f"s3://key:secret@bucket/a{QUERY}")
    assert "secret" in str(path)
    for text in (shown(path), f"{path}", f"{path / 'b'}", repr(path)):
        assert "secret" not in text
        assert "key" not in text
    assert shown(Path("/a@b")) == "/a@b"


def test_files_on_s3(s3):
    folder = as_path(s3.uri("storage/paths"))
    assert not folder.exists()
    assert list(folder.iterdir()) == []
    folder.mkdir(parents=True, exist_ok=True)
    name = "TCGA-A6 (2)=@+%41 ü#?.txt"  # names are as they are on the store, whatever a URI makes of them
    file = folder / "inner" / name
    file.write_text("ä")
    assert file.name == name
    assert as_path(str(file)).read_text() == file.read_text() == "ä"
    assert s3.client.list_objects_v2(Bucket="bucket", Prefix="storage/paths")["Contents"][0]["Key"].endswith(name)
    assert (file.exists(), file.is_file(), file.is_dir(), file.size()) == (True, True, False, 2)
    assert (folder.exists(), folder.is_file(), folder.is_dir()) == (True, False, True)
    (folder / "b.csv").write_bytes(b"x")
    assert sorted(path.name for path in folder.iterdir()) == ["b.csv", "inner"]
    assert list(folder.glob("*.csv")) == [folder / "b.csv"]
    (folder / "b.csv").unlink()
    (folder / "b.csv").unlink(missing_ok=True)
    for read in ((folder / "b.csv").unlink, (folder / "b.csv").read_text):
        with pytest.raises(FileNotFoundError):
            read()
    assert (folder / "b.csv").size() is None


def test_files_on_what_fsspec_knows():
    folder = as_path("memory://bucket/paths")
    (folder / "a b.txt").write_text("x")
    assert (folder / "a b.txt").read_text() == "x"
    assert [path.name for path in folder.iterdir()] == ["a b.txt"]


def test_a_store_that_cannot_be_used_is_a_sentence(s3, tmp_path):
    check_store(tmp_path / "new")
    check_store(as_path(s3.uri("storage/new")))
    with pytest.raises(RunFolderError, match="no bucket nowhere"):
        check_store(as_path(s3.uri("run").replace("s3://bucket", "s3://nowhere")))
    for uri in ("s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1", "nonsense://bucket/run"):
        with pytest.raises(RunFolderError, match="cannot be used"):
            check_store(as_path(uri))
