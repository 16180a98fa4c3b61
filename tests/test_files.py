"""Files written in one step, here and on an object store, and read from there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.s3 import Store
from wsc_ray.files import (
    atomic,
    delete_left_parts,
    is_file_name,
    local_file,
    local_folder,
    read_json,
    read_summary,
    write_json,
    write_summary,
)
from wsc_ray.storage import AnyPath, as_path


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "local":
        return tmp_path
    store: Store = request.getfixturevalue("s3")
    return as_path(store.uri(f"files/{tmp_path.name}"))


def test_atomic_leaves_all_or_nothing(folder):
    path = folder / "a" / "file.txt"
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text(f"half, {1 / 0}")
    assert not path.exists()
    with atomic(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text(f"half, {1 / 0}")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_what_a_killed_process_was_writing_is_deleted_later(tmp_path):
    """A process that writes three files at a time is killed; one of its files is in a folder where another command works."""
    folders = [tmp_path, tmp_path / "a", tmp_path / "held"]
    script = (
        "import contextlib, os, signal, sys; from pathlib import Path; from wsc_ray.files import atomic\n"
        "with contextlib.ExitStack() as stack:\n"
        "    [stack.enter_context(atomic(Path(folder) / 'file.h5')).write_text('half') for folder in sys.argv[1:]]\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, *map(str, folders)], check=False)
    (tmp_path / "held" / ".lock").touch()
    (tmp_path / ".file.h5").write_text("a user's")
    parts = [part for folder in folders for part in folder.glob(".file.h5.*.part")]
    assert len(parts) == 3
    delete_left_parts(tmp_path, hold=".lock")
    assert all(part.exists() for part in parts)  # somebody may still be writing them
    for part in parts:
        os.utime(part, (time.time() - 100, time.time() - 100))
    delete_left_parts(tmp_path, hold=".lock")
    assert [part.exists() for part in parts] == [False, False, True]
    assert (tmp_path / ".file.h5").exists()


def test_atomic_writes_empty_and_large_files(folder):
    large = bytes(range(256)) * (100 << 10)  # 25 MiB: several parts of an upload
    for content in (b"", large):
        with atomic(folder / "file") as temporary:
            temporary.write_bytes(content)
        assert (folder / "file").read_bytes() == content
        with local_file(folder / "file") as file:
            assert isinstance(file, Path)
            assert file.name == "file"
            assert file.read_bytes() == content


def test_local_files_are_deleted_when_they_are_copies(folder):
    (folder / "a.txt").write_text("x")
    with local_file(folder / "a.txt") as file:
        pass
    assert file.exists() == isinstance(folder, Path)
    with pytest.raises(FileNotFoundError), local_file(folder / "b.txt") as file:
        file.read_bytes()


def test_a_folder_is_copied_with_what_is_in_it(folder):
    for name in ("a.txt", "b/c.txt"):
        with atomic(folder / "source" / name) as temporary:
            temporary.write_text(name)
    with local_folder(folder / "source") as source:
        assert source.name == "source"
        assert sorted(str(p.relative_to(source)) for p in source.rglob("*.txt")) == ["a.txt", "b/c.txt"]


def test_json_and_summaries(folder):
    with pytest.raises(FileNotFoundError):
        read_json(folder / "a.json")
    write_json(folder / "a.json", {"x": [1]})
    assert read_json(folder / "a.json") == {"x": [1]}
    assert read_summary(folder) is None
    written = write_summary(folder, "embed", {"slides": 3})
    assert written == read_summary(folder) == {"command": "embed", "slides": 3}
    (folder / "summary.json").write_text("half {")
    assert read_summary(folder) is None


@pytest.mark.parametrize("name", ["slide_1", "TCGA-A6-2671 (2)", "a.b", "1"])
def test_ids_that_can_be_file_names(name):
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\n", "x" * 201, "a\0", "end.", "C:x"]
)
def test_ids_that_cannot(name):
    assert not is_file_name(name)
