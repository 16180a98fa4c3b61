import errno
import os

import fsspec
import pytest

from wsc_ray.errors import RunFolderError
from wsc_ray.manifest.publish import new_folder, refuse_taken


def fill(out: str, *, fail: bool = False) -> None:
    with new_folder(out) as (filesystem, folder):
        filesystem.create_dir(f"{folder}/inner")
        with filesystem.open_output_stream(f"{folder}/inner/a") as stream:
            stream.write(b"a")
        if fail:
            raise KeyboardInterrupt


def test_it_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    fill(str(out))
    assert (out / "inner" / "a").read_bytes() == b"a"
    assert os.listdir(out) == ["inner"]
    assert os.listdir(out.parent) == ["out"]


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "out").mkdir()
    fill(str(tmp_path / "out"))
    assert (tmp_path / "out" / "inner" / "a").exists()


def test_nothing_is_left_of_a_block_that_raises(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(str(tmp_path / "out"), fail=True)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    folder = new_folder(str(tmp_path / "out"))
    folder.__enter__()
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RunFolderError, match="out cannot be written: No space left on device"):
        folder.__exit__(OSError, error, None)
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("out", "file"):
        with pytest.raises(RunFolderError, match="is not empty; give a new folder"):
            fill(str(tmp_path / name))
    assert (tmp_path / "out" / "mine").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be"):
        fill(str(tmp_path / "file" / "out"))


def test_taken_meanwhile(tmp_path):
    folder = new_folder(str(tmp_path / "out"))
    folder.__enter__()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").write_text("theirs")
    with pytest.raises(RunFolderError, match="was taken meanwhile"):
        folder.__exit__(None, None, None)
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "theirs").read_text() == "theirs"


def test_a_running_import_is_left_alone(tmp_path):
    out = str(tmp_path / "out")
    with new_folder(out) as (_, slow):
        with pytest.raises(KeyboardInterrupt):
            fill(out, fail=True)
        assert os.path.isdir(slow)


def test_an_object_store_is_cleared():
    memory = fsspec.filesystem("memory")
    with pytest.raises(KeyboardInterrupt):
        fill("memory://publish/out", fail=True)
    assert not memory.exists("/publish/out")
    fill("memory://publish/out")
    try:
        assert memory.cat("/publish/out/inner/a") == b"a"
        with pytest.raises(RunFolderError):
            refuse_taken("memory://publish/out")
    finally:
        memory.rm("/publish", recursive=True)
