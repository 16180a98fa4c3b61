"""`--cluster FILE` as a user types it: Ray's launcher brings two machines up over SSH, and takes them down.

One cluster for the whole file; the tests are the chapters of its life, in order.
"""

import json
import re
import secrets
import signal
import sys

import pytest
import yaml
from mlflow import MlflowClient

from tests.cluster.files import filled
from tests.cluster.machines import network, until
from tests.cluster.test_jobs import SECRETS, Said


@pytest.fixture(scope="module")
def net():
    with network(2) as made:
        (made.folder / "laptop" / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        yield made


@pytest.fixture(scope="module")
def file(net):
    """`cluster/local.yaml` for these machines, which have this Python already."""
    head, *workers = net.machines
    marks = {
        "CHANGE_ME_HEAD": head,
        "CHANGE_ME_SECOND": workers[0],
        "CHANGE_ME_THIRD": "unused",
        "CHANGE_ME_USER": "root",
    }
    (config,) = filled("local.yaml", **marks, CHANGE_ME_FOLDER=str(net.shared).removeprefix("/"))
    config["provider"]["worker_ips"] = workers
    config["auth"]["ssh_private_key"] = str(net.key)
    config["setup_commands"] = [config["setup_commands"][0], f"ln -sfn {sys.prefix} ~/wsc-ray/venv"]
    config["initialization_commands"] += [f"export WANDB_API_KEY={SECRETS['HF_TOKEN']}"]
    (net.folder / "cluster.yaml").write_text(yaml.safe_dump(config))
    return net.folder / "cluster.yaml"


@pytest.fixture
def command(net, file, settings):
    """`pretrain ... --cluster FILE`, with changes to the small recipe."""

    def arguments(name="run", **changes):
        settings["tracking"] = {"uri": None}
        for section, values in changes.items():
            settings[section] |= values
        (net.shared / f"{name}.yaml").write_text(yaml.safe_dump(settings))
        return "pretrain", net.shared / f"{name}.yaml", "--out", net.shared / name, "--cluster", file

    return arguments


def test_a_dry_run_starts_nothing(net, command, file):
    status, text = net.run(*command(), "--dry-run")
    assert status == 0, text
    assert "bring up wsc-ray (local), unless it is up, and wait for 2 nodes" in text
    assert f"if it ended well, ray down --yes {file}" in text
    assert re.search(r"resources.training workers +2, each 0.5 CPUs", text)
    assert not net.processes()


def test_a_mistake_that_only_the_cluster_can_tell_leaves_it_up_and_says_so(net, command, file):
    status, text = net.run(*command("never", data={"manifest": str(net.shared / "nowhere")}))
    assert status == 2, text
    assert "Ray runtime started" in text
    assert re.search(r"ok    nodes: .*10.77.0.11.*10.77.0.12", text)
    assert re.search(r"ok    all-reduce: gloo over 2 processes", text) or "warn  all-reduce" in text
    assert re.search(r"fail  manifest: .*nowhere", text)
    assert f"wsc-ray is still up, and costs what its machines cost; `ray down --yes {file}` takes it down" in text
    assert any("raylet" in line for line in net.processes())
    assert not (net.shared / "never").exists()


def test_a_killed_client_leaves_the_job_and_no_connection(net, command, file):
    """And `job attach` follows it to its end."""
    client = Said(net.command(*command(train={"epochs": 3}), **SECRETS))
    job = client.until(r"job (wsc-ray-pretrain-run-\w+-1) submitted").group(1)
    assert "Ray runtime started" not in client.text, "what is up is used as it is"
    client.process.send_signal(signal.SIGKILL)
    assert client.ended() == -signal.SIGKILL
    until(lambda: not net.connections())

    status, text = net.run("job", "attach", "--cluster", file, "--down", "never")
    assert status == 0, text
    assert "Running entrypoint for job" in text
    assert re.search(r"steps_done +12", text)
    assert re.search(rf"job +{job}", text)
    assert any("raylet" in line for line in net.processes())
    assert not net.connections()


def test_it_leaves_what_a_local_run_leaves_and_the_cluster(net):
    run = net.shared / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps_done"] == 12
    (job,) = json.loads((run / "cluster.json").read_text())["jobs"]
    assert {node["name"] for node in job["nodes"]} == set(net.machines)
    kept = yaml.safe_load((run / "cluster.yaml").read_text())
    assert kept["provider"]["head_ip"] == "10.77.0.11"
    assert kept["auth"]["ssh_private_key"] == "(removed)"
    client = MlflowClient(f"sqlite:///{net.shared}/mlflow.db")
    names = {item.path for item in client.list_artifacts(summary["mlflow"]["run_id"])}
    assert {"recipe.yaml", "encoder", "cluster.json", "cluster.yaml"} <= names


def test_a_cluster_that_does_not_stop_is_noticed(net, file):
    """Without `ray` on the PATH of a login, stopping fails, and Ray's launcher says that no nodes remain."""
    profiles = [net.folder / f"machine-{number}" / ".profile" for number in range(2)]
    texts = [profile.read_text() for profile in profiles]
    for profile in profiles:
        profile.unlink()
    status, text = net.run("job", "attach", "--cluster", file, "--down", "always")
    for profile, before in zip(profiles, texts, strict=True):
        profile.write_text(before)
    assert "No nodes remaining" in text
    assert re.search(
        r"wsc-ray is not down: on 10.77.0.11: process \d+ \S+gcs_server; .*end it yourself: ray down", text
    )
    assert status == 2
    assert any("raylet" in line for line in net.processes())


def test_what_the_launcher_has_forgotten_is_found_and_taken_down(net, file):
    """By default, once the job has ended well."""
    status, text = net.run("job", "attach", "--cluster", file)
    assert status == 0, text
    assert "taking down wsc-ray" in text
    assert not net.processes()
    assert not net.connections()


def test_no_secret_is_in_any_log_store_summary_or_run_folder(net):
    token = (net.folder / "laptop" / ".ray" / "auth_token").read_text()
    planted = [secret.encode() for secret in (*SECRETS.values(), token, net.key.read_text())]
    logs = [net.folder / f"machine-{number}" / "ray" for number in range(2)]
    files = [path for folder in (net.shared, *logs) for path in folder.rglob("*") if path.is_file()]
    assert any("job-driver-wsc-ray-pretrain-run" in path.name for path in files)
    assert any(path.name == "mlflow.db" for path in files)
    # The head's autoscaler writes the launcher's file into its own log.
    files = [path for path in files if not path.name.startswith("monitor")]
    leaks = [str(path) for path in files if any(secret in path.read_bytes() for secret in planted)]
    assert not leaks
