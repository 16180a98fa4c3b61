"""A whole run whose only shared place is a bucket: two nodes, killed in the middle, and the commands after it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from wsc_ray.commands import embed, evaluate, pretrain, tune
from wsc_ray.errors import RunFolderError
from wsc_ray.features.store import read_slide, read_slides, stored_slides
from wsc_ray.files import local_file, read_json
from wsc_ray.pretrain import metrics_file
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import AnyPath, as_path

STEPS = 24

# A process group of its own that is killed as one: the cluster of two nodes, and the command on it.
SCRIPT = """
import os, subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
cluster.add_node(num_cpus=2)
try:
    command = [sys.executable, "-m", "wsc_ray", "pretrain", "recipe.yaml", "--out", sys.argv[1]]
    sys.exit(subprocess.run(command, env={**os.environ, "RAY_ADDRESS": cluster.address}).returncode)
finally:
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def bucket_run(s3, manifest, tmp_path_factory) -> RunFolder:
    """A run on two nodes that was killed between two checkpoints and typed again."""
    folder = tmp_path_factory.mktemp("bucket")
    run = RunFolder(s3.uri("anywhere/run"))
    s3.upload(manifest, "anywhere/manifest")
    (folder / "recipe.yaml").write_text(recipe_of(s3.uri("anywhere/manifest")).to_yaml())
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(run.path)]
    started = subprocess.Popen(command, cwd=folder, start_new_session=True)
    deadline = time.monotonic() + 300
    try:
        while not any(checkpoints(run)):
            assert started.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert not (run.path / "summary.json").exists()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"recipe.yaml", "script.py"}
    return run


def recipe_of(manifest: str, **sections: dict):
    return validate_recipe(
        {
            "data": {"manifest": manifest},
            "encoder": {"backbone": "test_vit", "weights": "random", "head_hidden": 16, "head_dim": 8},
            "loss": {"similarity_weight": 0.1, "similarity_warmup": 4},
            "augment": {"size": 32},
            "stream": {"shards": 4, "window": 2, "record": True},
            "train": {
                "epochs": 2,
                "steps_per_epoch": STEPS // 2,
                "batch_size": 16,
                "workers": 2,
                "cpus_per_worker": 0.5,
                "warmup_epochs": 0,
                "lr": 0.05,
                "log_every": 1,
                "checkpoint_every": 4,
            },
            "tune": {"trials": 2, "epochs": 2, "concurrent": 1},
            "evaluate": {"bootstrap": 100},
            **sections,
        }
    )


def checkpoints(run: RunFolder) -> list[AnyPath]:
    return [path for path in run.checkpoints.glob("checkpoint_*") if path.is_dir()]


def test_a_killed_run_ends_as_an_undisturbed_one_here(bucket_run, manifest, ray_cluster, tmp_path):
    here = RunFolder(tmp_path / "here")
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    summary = pretrain(recipe=recipe_of(str(manifest), tracking=tracking), out=here.path)
    there = read_json(bucket_run.path / "summary.json")
    assert there["steps_done"] == summary["steps_done"] == STEPS
    assert there["samples_sha256"] == summary["samples_sha256"]
    assert [line["step"] for line in metrics_file.read(bucket_run.metrics)] == list(range(1, STEPS + 1))
    with local_file(bucket_run.path / "mlflow.db") as store:
        history = MlflowClient(f"sqlite:///{store}").get_metric_history(there["mlflow"]["run_id"], "loss")
    assert sorted(metric.step for metric in history) == list(range(1, STEPS + 1))
    ours = load_file(here.encoder / "model.safetensors")
    with local_file(bucket_run.encoder / "model.safetensors") as file:
        theirs = load_file(file)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_typed_again_it_is_complete_and_another_recipe_is_refused(bucket_run, s3):
    manifest = s3.uri("anywhere/manifest")
    assert pretrain(recipe=recipe_of(manifest), out=str(bucket_run.path))["already_complete"]
    with pytest.raises(RunFolderError, match="seed"):
        pretrain(recipe=recipe_of(manifest, seed=5), out=str(bucket_run.path))


def test_the_commands_after_it(s3, manifest, ray_cluster, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bucket_run = RunFolder(s3.uri("anywhere/untrained"))
    run = str(bucket_run.path)
    untrained = recipe_of(str(manifest), train={"epochs": 0, "batch_size": 16})
    assert pretrain(recipe=untrained, out=run)["steps_done"] == 0
    assert embed(run=run)["patches_embedded"] > 0
    assert embed(run=run)["patches_embedded"] == 0
    slides = read_slides(bucket_run.features).slides["slide_id"].to_pylist()
    assert stored_slides(bucket_run.features) == set(slides)
    assert read_slide(bucket_run.features, slides[0]).features.ndim == 2

    other = as_path(str(bucket_run.path.parent)) / "features"
    embed(run=run, out=str(other))
    assert stored_slides(other) == set(slides)

    tune(run=run)
    assert tune(run=run)["already_complete"]
    measured = evaluate(run=run)
    assert measured["metrics"]
    assert (bucket_run.evaluate / "predictions.csv").read_text().startswith("slide_id,")
    for folder in (bucket_run.path, bucket_run.features, bucket_run.mil, bucket_run.evaluate):
        assert json.loads((folder / "mlflow.json").read_text())["uri"] == str(bucket_run.path / "mlflow.db")
    assert not list(Path(tmp_path).iterdir())
