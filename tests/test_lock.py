"""One command at a time in a folder, with real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from wsc_ray.errors import RunFolderError
from wsc_ray.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from wsc_ray.lock import locked
with locked(Path(sys.argv[1]), "pretrain"):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from wsc_ray.errors import RunFolderError
from wsc_ray.lock import locked
folder, done = Path(sys.argv[1]), 0
while done < 40:
    try:
        with locked(folder, "count"):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))
            done += 1
    except RunFolderError:
        time.sleep(0.002)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_works_there(holder, tmp_path):
    said = rf"is in use by `wsc-ray pretrain` \(pid {holder.pid} on .*, since \d\d:\d\d on 20.*\); wait"
    with pytest.raises(RunFolderError, match=said), locked(tmp_path, "embed"):
        pass
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == holder.pid


def test_a_killed_holder_leaves_the_folder_free(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path, "embed"):
        assert json.loads((tmp_path / LOCK).read_text())["command"] == "embed"
    assert not list(tmp_path.iterdir())


def test_a_lock_that_says_nothing_is_still_one(holder, tmp_path):
    (tmp_path / LOCK).write_text("?")
    with pytest.raises(RunFolderError, match="is in use by another command"), locked(tmp_path, "embed"):
        pass


def test_never_two_at_once(tmp_path):
    """Counting without losing one, by processes that take the lock away and make it anew all the time."""
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(timeout=100) for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "120"
