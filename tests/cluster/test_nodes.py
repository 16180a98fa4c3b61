"""Training on a real Ray cluster of two nodes, found by RAY_ADDRESS, of which one is lost on the way."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.one_process import digest_of_one_process
from wsc_ray.pretrain import metrics_file
from wsc_ray.recipe.reading import validate_recipe

# A process of its own: this one may have a local Ray already. Of two nodes, one is lost in the middle of the run.
SCRIPT = """
import os, subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
node = cluster.add_node(num_cpus=2)
try:
    command = [sys.executable, "-m", "wsc_ray", "pretrain", "recipe.yaml", "--out", "run"]
    run = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": cluster.address})
    lines = Path("run", "metrics.jsonl")
    while run.poll() is None and not (lines.exists() and lines.read_text().count("\\n") >= 12):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    sys.exit(run.wait(timeout=600))
finally:
    cluster.shutdown()
"""


WHERE = """
import numpy as np, ray
from ray.cluster_utils import Cluster
from wsc_ray.stream.ray_source import read_calls

def read(number):
    yield {"node": np.array([ray.get_runtime_context().get_node_id()])}

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    other = cluster.add_node(num_cpus=1).node_id
    ray.init(address=cluster.address, log_to_driver=False)
    rows = read_calls(read, 6, num_cpus=0, concurrency=2, node=other).take_all()
    assert [row["node"] for row in rows] == [other] * 6, (rows, other)
finally:
    ray.shutdown()
    cluster.shutdown()
"""


def run_script(script, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_ADDRESS")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment,
    )


def test_reading_stays_on_the_node_that_is_asked_for(tmp_path):
    done = run_script(WHERE, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "deprecated" not in done.stderr


@pytest.mark.long
def test_an_elastic_run_goes_on_with_the_nodes_that_are_left(settings, tmp_path):
    """And shows the model the very samples that one process would."""
    # One CPU and a half a worker of the two that each node has: there is a worker on each.
    settings["train"] |= {"epochs": 15, "checkpoint_every": 5, "workers": 2, "min_workers": 1, "cpus_per_worker": 1.5}
    settings["stream"]["record"] = True
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    done = run_script(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = metrics_file.read(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 61))
    workers = [line["workers"] for line in lines]
    assert workers[0] == 2
    assert workers[-1] == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples_sha256"] == digest_of_one_process(validate_recipe(settings), tmp_path / "alone")


def test_a_cluster_that_does_not_answer_is_a_sentence(settings, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        [sys.executable, "-m", "wsc_ray", "pretrain", "recipe.yaml", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:9"},
    )
    assert done.returncode == 2, done.stderr
    assert "no Ray at 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
