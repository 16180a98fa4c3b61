"""A Ray that a command starts: who can reach it, what its workers import, and where its token is kept."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wsc_ray.ray_token import prepare_token

# A training of two workers, which says what it has listened at while it went on.
TRAINING = """
import json, os, sys, threading
import psutil
from wsc_ray import commands

seen, ended = set(), threading.Event()

def look():
    while not ended.wait(0.5):
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                found = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
                seen.update((process.name().split(".")[0], c.laddr.ip) for c in found)
            except psutil.Error:
                pass

looking = threading.Thread(target=look)
looking.start()
try:
    commands.pretrain(recipe=sys.argv[1], out="run")
finally:
    ended.set()
    looking.join()
with open("seen.json", "w") as file:
    json.dump(sorted(seen), file)
"""
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.mark.cluster
def test_a_training_on_this_machine(settings, tmp_path):
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir(mode=0o500)  # of root, this one can be written; the token is then a file
    for name in ("h2", "httpx", "torch"):  # of packages that workers import
        (work / f"{name}.py").write_text("open('RAN', 'a').write(__file__)\nraise ImportError(__file__)\n")
    settings["train"] |= {"epochs": 1}
    (work / "recipe.json").write_text(json.dumps(settings))
    (tmp_path / "training.py").write_text(TRAINING)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONSAFEPATH"}
    package = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tmp_path / "training.py", "recipe.json"],
        cwd=work,
        env=environment | {"HOME": str(home), "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(work.rglob("RAN"))
    seen = json.loads((work / "seen.json").read_text())
    assert {"raylet", "gcs_server"} <= {name for name, _ in seen}
    assert any("RayTrainWorker" in name for name, _ in seen)
    assert [each for each in seen if each[1] not in LOOPBACK] == []
    token = home / ".ray" / "auth_token"
    assert not token.exists() or stat.S_IMODE(token.stat().st_mode) == 0o600


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_token_is_made_for_its_user_alone(home, monkeypatch):
    before = os.umask(0)
    try:
        prepare_token()
    finally:
        os.umask(before)
    token = home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 64
    text = token.read_text()
    token.chmod(0o644)
    prepare_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == text
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_token_that_the_environment_names_is_left_alone(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "mine"))
    prepare_token()
    assert not list(home.iterdir())


@pytest.mark.parametrize("place", ["/sys", "/proc/nowhere", "file"])
def test_a_home_that_cannot_be_written(home, monkeypatch, place):
    (home / "file").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # so that it is taken away in the end
    monkeypatch.setenv("HOME", place if place.startswith("/") else str(home / place))
    prepare_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
