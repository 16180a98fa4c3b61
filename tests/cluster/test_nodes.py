"""Training and embedding on a real Ray cluster of two nodes, which a command finds by RAY_ADDRESS."""

import json
import os
import subprocess
import sys

import yaml

# A process of its own: this one has a local Ray already.
CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
cluster.add_node(num_cpus=2)
try:
    import os
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    for command in (["pretrain", "recipe.yaml", "--out", "run"], ["embed", "--run", "run"]):
        subprocess.run([sys.executable, "-m", "wsc_ray", *command], env=environment, check=True, timeout=300)
    import ray
    ray.init(address=cluster.address, log_to_driver=False)
    print("nodes", len([node for node in ray.nodes() if node["Alive"]]))
    ray.shutdown()
finally:
    cluster.shutdown()
"""


def test_two_nodes(settings, tmp_path):
    # One CPU a worker of the two that each node has: both workers do not fit on one node beside reading.
    settings["train"] |= {"workers": 2, "cpus_per_worker": 1.5, "epochs": 1}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_ADDRESS")}
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "nodes 2" in done.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps_done"] == 4
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
