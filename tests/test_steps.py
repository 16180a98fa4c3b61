"""`wsc-ray run`: the four commands as one, and on from the step at which it was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from wsc_ray.commands import evaluate, run
from wsc_ray.files import read_json
from wsc_ray.run_folder import STEPS, RunFolder, step_of

KILLED = "step 3 of 4: tune"


@pytest.fixture(scope="module")
def killed(tmp_path_factory, manifest):
    """A folder in which `wsc-ray run` was killed once it had begun to tune."""
    from tests.conftest import small_recipe

    folder = tmp_path_factory.mktemp("run")
    (folder / "wsc-ray.yaml").write_text(yaml.safe_dump(small_recipe(manifest)))
    process = subprocess.Popen(
        [sys.executable, "-m", "wsc_ray", "run"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    said = []
    deadline = time.monotonic() + 500
    for line in process.stdout:
        said.append(line)
        assert time.monotonic() < deadline, said
        if KILLED in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert KILLED in said[-1], "".join(said)
    return folder


@pytest.mark.long
def test_typed_again_it_goes_on_with_the_step_it_was_in(killed, monkeypatch, ray_cluster, capsys):
    place = RunFolder(killed / "runs" / "wsc-ray")
    assert step_of(place.path) == "tune"
    kept = {
        path: path.stat().st_mtime_ns
        for path in (place.path / "summary.json", place.encoder / "model.safetensors", place.features / "summary.json")
    }
    assert not (place.mil / "summary.json").exists()
    monkeypatch.chdir(killed)
    summary = run()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was complete is left as it is"
    assert step_of(place.path) is None
    assert list(summary["seconds"]) == list(STEPS)
    for folder in (place.path, place.features, place.mil, place.evaluate):
        assert read_json(folder / "summary.json")["seconds"] >= 0
    assert json.loads((place.evaluate / "summary.json").read_text())["metrics"] == summary["evaluate"]["metrics"]
    alone = evaluate(run=place.path, out=killed / "alone")
    assert alone["metrics"] == summary["evaluate"]["metrics"], "as the command of that name"


def test_a_dry_run_checks_the_first_step_and_starts_nothing(settings, tmp_path, monkeypatch, wsc_ray_command):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    status, text = wsc_ray_command("run", "r.yaml", "--dry-run")
    assert status == 0, text
    assert "embed, tune, evaluate" in text
    assert not (tmp_path / "runs").exists()


def test_a_wrong_recipe_is_a_sentence(tmp_path, monkeypatch, wsc_ray_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text("trian: {}\n")
    status, text = wsc_ray_command("run", "r.yaml")
    assert status == 2
    assert "trian" in text
    assert not (tmp_path / "runs").exists()
