"""Training and embedding on a real Ray cluster of two nodes, found by RAY_ADDRESS, of which one is lost on the way."""

import json
import os
import subprocess
import sys

import yaml

from wsc_ray.commands import pretrain
from wsc_ray.pretrain import metrics_file
from wsc_ray.recipe_file import validate_recipe

# A process of its own: this one has a local Ray already. Of two nodes, one is lost in the middle of the run.
SCRIPT = """
import os, subprocess, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
node = cluster.add_node(num_cpus=2)
try:
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    command = [sys.executable, "-m", "wsc_ray"]
    run = subprocess.Popen([*command, "pretrain", "recipe.yaml", "--out", "run"], env=environment)
    lines = Path("run", "metrics.jsonl")
    while run.poll() is None and not (lines.exists() and lines.read_text().count("\\n") >= 25):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    assert run.wait(timeout=300) == 0
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    print("nodes", len([node for node in ray.nodes() if node["Alive"]]))
    ray.shutdown()
    subprocess.run([*command, "embed", "--run", "run"], env=environment, check=True, timeout=300)
finally:
    cluster.shutdown()
"""


def test_an_elastic_run_goes_on_with_the_nodes_that_are_left(settings, ray_cluster, tmp_path):
    """And shows the model the very samples of a run that lost none; embedding then works on both nodes again."""
    # One CPU and a half a worker of the two that each node has: there is a worker on each.
    settings["train"] |= {"epochs": 40, "checkpoint_every": 20, "workers": 2, "cpus_per_worker": 1.5}
    settings["stream"]["record"] = True
    whole = pretrain(recipe=validate_recipe(settings), out=tmp_path / "whole")
    settings["train"]["min_workers"] = 1
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_ADDRESS")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = metrics_file.read(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 161))
    workers = [line["workers"] for line in lines]
    assert workers[0] == 2
    assert workers[-1] == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples_sha256"] == whole["samples_sha256"]
    assert "nodes 2" in done.stdout
    assert json.loads((tmp_path / "run" / "features" / "summary.json").read_text())["patches_embedded"] > 0


def test_a_cluster_that_does_not_answer_is_a_sentence(settings, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        [sys.executable, "-m", "wsc_ray", "pretrain", "recipe.yaml", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:9"},
    )
    assert done.returncode == 2, done.stderr
    assert "no Ray at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
