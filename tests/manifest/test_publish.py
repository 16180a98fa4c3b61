import errno
import os
import stat
from pathlib import Path

import fsspec
import pytest

from wsc_ray.errors import RunFolderError
from wsc_ray.files import write_json
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


def test_an_existing_empty_folder_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o2770)
    (out / "lost+found").mkdir()
    (out / ".snapshot").mkdir()
    before = out.stat()
    with pytest.raises(KeyboardInterrupt):
        fill(str(out), fail=True)
    assert sorted(os.listdir(out)) == [".snapshot", "lost+found"]
    tmp_path.chmod(0o555)  # its parent is somebody else's; of root, nobody's is
    try:
        fill(str(out))
    finally:
        tmp_path.chmod(0o755)
    assert sorted(os.listdir(out)) == [".snapshot", "inner", "lost+found"]
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_import_left_in_a_folder_is_taken_away(tmp_path):
    out = tmp_path / "out"
    (out / ".out.unfinished-0000").mkdir(parents=True)
    (out / ".out.unfinished-0000" / ".lock").touch()
    fill(str(out))
    assert os.listdir(out) == ["inner"]


def test_killed_while_the_content_moved_up(tmp_path):
    out = tmp_path / "out"
    left = out / ".out.unfinished-0000"
    left.mkdir(parents=True)
    for name in (".lock", ".complete", "summary.json"):
        (left / name).touch()
    (out / "patches").mkdir()
    with pytest.raises(RunFolderError, match="is not empty"):
        refuse_taken(str(out))
    assert sorted(os.listdir(out)) == ["patches", "summary.json"]


def test_taken_meanwhile_in_a_folder_that_was_there(tmp_path):
    (tmp_path / "out").mkdir()
    folder = new_folder(str(tmp_path / "out"))
    folder.__enter__()
    (tmp_path / "out" / "theirs").write_text("theirs")
    with pytest.raises(RunFolderError, match="was taken meanwhile: it holds theirs"):
        folder.__exit__(None, None, None)
    assert os.listdir(tmp_path / "out") == ["theirs"]


@pytest.mark.parametrize(("umask", "folders", "files"), [(0o077, 0o2700, 0o600), (0o002, 0o2775, 0o664)])
def test_rights_are_the_umasks_and_the_folders(tmp_path, umask, folders, files):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)  # new folders in it are of its group
    before = os.umask(umask)
    try:
        with new_folder(str(shared / "out")) as (filesystem, folder):
            filesystem.create_dir(f"{folder}/inner")
            write_json(Path(folder) / "inner" / "a.json", {})
            write_json(Path(folder) / "b.json", {})
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.rglob("*")}
    assert modes == {"out": folders, "inner": folders, "a.json": files, "b.json": files}


def test_nothing_is_left_of_a_block_that_raises(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(str(tmp_path / "out"), fail=True)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_an_error_sentence(tmp_path):
    folder = new_folder(str(tmp_path / "out"))
    folder.__enter__()
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RunFolderError, match="out cannot be written: No space left on device"):
        folder.__exit__(OSError, error, None)
    assert os.listdir(tmp_path) == []


def test_existing_files_are_not_touched(tmp_path):
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


def test_a_link_to_itself_is_an_error_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for out in (tmp_path / "loop", tmp_path / "loop" / "a"):
        with pytest.raises(RunFolderError, match=r"loop.* cannot be (made|used)"), new_folder(str(out)):
            pass
