"""A cluster that nobody watches takes itself down: machines over SSH, looked at from outside."""

from __future__ import annotations

import re
import signal
import time

import pytest
import yaml

from tests.cluster.local_config import local_config, write_token
from tests.cluster.machines import network, until
from tests.cluster.test_jobs import Said
from tests.conftest import small_recipe
from wsc_ray.autostop.records import read_records
from wsc_ray.files import read_json

FILE = "cluster/local.yaml"
IDLE, FAILED = 6.0, 45.0  # s; the command line takes minutes
HOURS = 20.0  # s
SLACK = 180.0  # s for a look, Ray's end and a busy machine
BUSY = 900.0  # s until a small training that has been sent is where a test waits for it


@pytest.fixture
def net(manifest):
    """Machines for one test, so that a cluster that a test leaves up is in no other's way."""
    with network(2) as made:
        write_token(made)
        config = local_config(made)
        (made.project / FILE).write_text(yaml.safe_dump(config))
        recipe = small_recipe(manifest)
        recipe["train"] |= {"steps_per_epoch": 12, "checkpoint_every": 4}
        (made.project / "wsc-ray.yaml").write_text(yaml.safe_dump(recipe))
        yield made


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.6f}"


def begin(net, *arguments):
    """A client that follows its job; and the job's id."""
    client = Said(net.command("pretrain", *arguments, "--cluster", FILE, "--autostop", minutes(IDLE)))
    client.until(r"job \S+ submitted")
    return client, re.findall(r"job (\S+) submitted", client.text)[0]


def recorded(net, job, **attributes):
    """The record of the latest job of that id, once it has these attributes."""
    found = [record for record in read_records(str(net.shared)) if record.job == job]
    return found and all(getattr(found[-1], name) == value for name, value in attributes.items()) and found[-1]


@pytest.mark.long
def test_a_client_killed_in_the_middle_leaves_a_cluster_that_ends_after_its_job(net):
    client, job = begin(net)
    client.process.send_signal(signal.SIGKILL)
    assert client.ended() == -signal.SIGKILL
    until(lambda: recorded(net, job, status="succeeded"), BUSY)
    assert any("raylet" in line for line in net.processes()), "a job that has just ended is not yet no job for a while"
    until(lambda: not net.processes(), IDLE + SLACK)
    record = recorded(net, job)
    assert record.ended - record.started > IDLE, "the job took longer than a cluster without one would have stood"
    assert record.ended_by is None
    assert record.dollars == 0
    assert read_json(net.shared / "runs" / "wsc-ray" / "summary.json")["steps_done"] == 24
    assert not net.connections()


@pytest.mark.long
def test_a_job_that_failed_leaves_its_cluster_for_a_while_to_look_at(net):
    (net.project / "broken.yaml").write_text(yaml.safe_dump(small_recipe(net.shared / "nowhere")))
    status, text = net.run(
        *("pretrain", "broken.yaml", "--cluster", FILE),
        *("--autostop", minutes(IDLE), "--keep-failed", minutes(FAILED)),
    )
    assert status == 2, text
    assert "its head does when no job has run for 6 seconds (45 seconds after one that failed)" in text
    (record,) = [each for each in read_records(str(net.shared)) if each.out.endswith("broken")]
    assert (record.status, record.exit_status) == ("failed", 2)
    while time.time() < record.ended + FAILED - 3:
        assert any("raylet" in line for line in net.processes())
        time.sleep(0.5)
    until(lambda: not net.processes(), 3 + SLACK)


@pytest.mark.long
def test_a_job_that_hangs_ends_with_its_cluster_after_the_most_hours(net):
    """And says so where its run and its job are read; its last checkpoint is kept."""
    settings = yaml.safe_load((net.project / "wsc-ray.yaml").read_text())
    settings["train"]["epochs"] = 10_000
    (net.project / "long.yaml").write_text(yaml.safe_dump(settings))
    client, job = begin(net, "long.yaml")
    checkpoints = net.shared / "runs" / "long" / "checkpoints"
    until(lambda: any(checkpoints.glob("checkpoint_*")), BUSY)
    net.driver("jobs/pretrain.py").send_signal(signal.SIGSTOP)
    client.process.kill()
    # Limits of a cluster that is up count from when they are given.
    status, text = net.run("pretrain", "long.yaml", "--cluster", FILE, "--max-hours", f"{HOURS / 3600:.6f}")
    assert f"job {job} is running already" in text
    assert status != 0
    until(lambda: not net.processes(), HOURS + SLACK)
    sentence = "the cluster was taken down after 20 seconds (--max-hours or --max-cost)"
    record = recorded(net, job, ended_by=sentence)
    assert record, read_records(str(net.shared))
    assert record.status != "succeeded"
    (noted,) = [each for each in read_json(checkpoints.parent / "cluster.json")["jobs"] if each["job"] == job]
    assert noted["ended_by"] == sentence
    assert any(checkpoints.glob("checkpoint_*"))
    assert not (checkpoints.parent / "summary.json").exists()


@pytest.mark.long
def test_taken_down_by_its_client_it_leaves_no_watch(net):
    status, text = net.run("manifest", "check", net.shared, "--cluster", FILE, "--down", "always")
    assert status != 0, "no manifest lies there"
    assert "taking down wsc-ray" in text
    assert "is not down" not in text
    assert not net.processes()
