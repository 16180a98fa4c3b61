"""`wsc-ray bench scaling` as a user types it, on real nodes."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from wsc_ray import commands
from wsc_ray.commands import find_command
from wsc_ray.errors import ResourceError
from wsc_ray.submit.call import make_call


def measured(folder, *words):
    """A quick run in a process of its own, since this one has a Ray already: its summary, and what it printed."""
    command = [sys.executable, "-m", "wsc_ray", "bench", "scaling", "--out", "out", "--quick", "--rounds", "1", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads((folder / "out" / "summary.json").read_text()), ended.stdout


@pytest.fixture(scope="module")
def done(manifest, tmp_path_factory):
    """With one and two workers."""
    folder = tmp_path_factory.mktemp("scaling")
    words = ["--workers", "1,2", "--manifest", manifest, "--project", "--price", "2", "--markdown", "page.md"]
    return folder, *measured(folder, *words)


def test_workers_may_share_a_node(manifest, tmp_path):
    """Two on one, each with its share of the node's CPUs; here the data alone."""
    summary, _ = measured(tmp_path, "--workers", "2", "--nodes", "1", "--skip-training", "--manifest", manifest)
    (row,) = summary["rows"]
    assert (row["workers"], row["work"]) == (2, "data")
    assert summary["settings"]["cpus_per_worker"] == pytest.approx(0.833)
    assert "--nodes 1" in summary["invocation"]
    assert any("2 on 1" in note for note in summary["notes"])


def test_every_number_of_workers_has_its_row(done):
    folder, summary, printed = done
    assert {(row["work"], row["mode"], row["workers"]) for row in summary["rows"]} == {
        (work, mode, workers) for work in ("training", "data") for mode in ("weak", "strong") for workers in (1, 2)
    }
    for row in summary["results"]:
        assert row["value"] > 0
        assert row["ratio"] == pytest.approx(row["value"] / row["baseline"])
    assert all(row["spilled_bytes"] == 0 for row in summary["rows"])
    assert "## Training" in printed
    page = (folder / "page.md").read_text()
    assert summary["invocation"] in page
    assert "A projection, not a measurement" in page
    assert [row["workers"] for row in summary["projection"]] == [8, 16, 32, 64, 128, 256, 512]


def test_what_is_sent_is_what_is_promised(done):
    _, summary, _ = done
    (communication,) = [one for one in summary["targets"] if "communication of a step" in one["target"]]
    assert communication["verdict"] == "reached", communication


def test_it_leaves_steps_a_picture_and_a_run_in_mlflow(done):
    from mlflow import MlflowClient

    folder, summary, _ = done
    steps = pq.read_table(folder / "out" / "steps.parquet").to_pylist()
    trained = [row for row in steps if row["work"] == "training" and row["workers"] == 2 and row["mode"] == "weak"]
    assert {(row["step"], row["rank"]) for row in trained} == {(step, rank) for step in range(21) for rank in range(2)}
    assert all(row["encode"] > 0 and row["communication"] > 0 for row in trained)
    assert (folder / "out" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    run = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(summary["mlflow"]["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["training_weak_patches_per_second"] > 0
    assert not [path for path in (folder / "out").iterdir() if path.name.startswith("tmp")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0,1"], "--workers: name numbers from 1"),
        (["--workers", "1,x"], "write whole numbers"),
        (["--batch-size", "5"], "--batch-size must be even"),
        (["--workers", "1,8", "--batch-size", "8"], "too few patches for 8 workers"),
        (["--cores", "4000"], "--cores 4000: there are"),
        (["--cpus-per-worker", "0.5"], "--cpus-per-worker must be above 0.5"),
        (["--workers", "4", "--nodes", "2", "--cpus-per-worker", "0.6"], "must be above 0.667 and leave something"),
        (["--workers", "1,3", "--nodes", "1,2"], "--nodes 2: 3 workers cannot be shared out evenly"),
        (["--workers", "1,2", "--nodes", "1"], "--nodes: give one number for each of --workers"),
        (["--workers", "2", "--nodes", "1", "--address", "http://127.0.0.1:9"], "--nodes starts nodes on this machine"),
        (["--skip-training", "--mock-model", "5"], "give one of them"),
        (["--project", "--network", "0"], "--network must be"),
        (["--workers", "1,4", "--batch-size", "36"], "4 workers cannot share 2 shards"),
        (["--project", "--skip-training"], "--project needs training"),
        (["--mock-model", "-1"], "--mock-model must be 0 or more"),
        (["--manifest", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_leaves_nothing(wsc_ray_command, tmp_path, options, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wsc_ray.bench.token.ask_for_a_token", lambda: None)  # it would stay in this process
    status, text = wsc_ray_command("bench", "scaling", "--out", tmp_path / "out", *options)
    assert status == 2, text
    assert said in text
    assert not (tmp_path / "out").exists()


STRANGER = "import ray; ray.init(address='{}'); print('let in')"
OWN = f"""
import os, subprocess, sys
from wsc_ray.bench.token import ask_for_a_token
ask_for_a_token()
import ray
from wsc_ray.bench.scaling.ray_nodes import ray_nodes
with ray_nodes(1, 1):
    print(ray.get(ray.remote(num_cpus=0)(lambda: os.getpid()).remote()) > 0)
    script = {STRANGER!r}.format(ray.get_runtime_context().gcs_address)
    clean = {{name: value for name, value in os.environ.items() if not name.startswith("RAY_")}} | {{"HOME": os.getcwd()}}
    print(subprocess.run([sys.executable, "-c", script], env=clean, capture_output=True, text=True).stdout)
"""


def test_nobody_else_gets_into_the_nodes(tmp_path):
    """Ray's ports are open on every interface; a stranger is a process without the token."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", OWN], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


def test_a_process_with_a_ray_of_its_own_is_told(ray_cluster, manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResourceError, match="Ray runs in this process already"):
        commands.bench_scaling(out=tmp_path / "out", manifest=str(manifest), workers=[1], quick=True)
    assert not list(tmp_path.iterdir())


def test_a_call_for_a_cluster_has_the_same_arguments(tmp_path):
    given = {"out": "out", "workers": [1, 2], "manifest": "patches", "projected": True, "price": None, "quick": False}
    call = make_call(find_command("bench scaling"), given)
    assert call.arguments == {
        "out": str(tmp_path.cwd() / "out"),
        "workers": [1, 2],
        "manifest": str(tmp_path.cwd() / "patches"),
        "projected": True,
    }
