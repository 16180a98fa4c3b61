"""The watch on a head in AWS: a machine of its own as the head, and moto's server as EC2."""

from __future__ import annotations

import json
import shlex
import sys
import time

import boto3
import pytest

from tests import s3 as store
from tests.cluster.files import ROOT, filled
from tests.cluster.head import Wire
from tests.cluster.machines import network, until
from tests.cluster.test_money import MARKS
from wsc_ray.autostop.limits import Limits
from wsc_ray.autostop.orders import LOG, Orders

REGION = "us-east-2"  # not that of other tests, which count its machines
IDLE = 6.0  # s


@pytest.fixture
def head(s3):
    """`head(line)` runs a line on the head; `head.ec2` is EC2 as seen from outside."""
    with network(1) as net:
        wire = Wire(s3.port, net.listen())
        home = net.folder / "machine-0"
        (config,) = filled("aws.yaml", **MARKS["aws.yaml"])
        config["provider"]["region"] = REGION
        (home / "ray_bootstrap_config.yaml").write_text(json.dumps(config))
        keys = {"AWS_ACCESS_KEY_ID": store.KEY, "AWS_SECRET_ACCESS_KEY": store.SECRET}
        variables = {**keys, "AWS_ENDPOINT_URL": wire.address, "PYTHONPATH": str(ROOT)}
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        (address,) = net.machines

        def run(line: str):
            return net.on(address, f"export {exports}; {line}")

        run.net, run.home = net, home
        run.ec2 = boto3.client(
            "ec2",
            endpoint_url=f"http://127.0.0.1:{s3.port}",
            region_name=REGION,
            aws_access_key_id=store.KEY,
            aws_secret_access_key=store.SECRET,
        )
        yield run
        wire.close()


def start(ec2, cluster: str, kind: str) -> str:
    tags = [{"Key": "ray-cluster-name", "Value": cluster}, {"Key": "ray-node-type", "Value": kind}]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    wanted = [{"ResourceType": "instance", "Tags": tags}]
    return ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=wanted)["Instances"][0][
        "InstanceId"
    ]


def alive(ec2, machines: list[str]) -> list[str]:
    found = ec2.describe_instances(InstanceIds=machines)["Reservations"]
    states = {one["InstanceId"]: one["State"]["Name"] for group in found for one in group["Instances"]}
    return [machine for machine in machines if states[machine] in ("pending", "running")]


def test_a_cluster_without_a_job_ends_from_its_head_the_head_last(head):
    orders = Orders(Limits(idle=IDLE, failed=IDLE, first=IDLE), "wsc-ray", None, 1.07)
    begin = f"{sys.executable} -m wsc_ray.autostop.start {shlex.quote(orders.to_json())}"
    done = head(begin)
    assert done.returncode == 1, "EC2 shows no head of this cluster yet: nothing could be ended from here"
    assert "the watch does not start" in done.stderr
    assert "aws shows no head of wsc-ray" in (head.home / ".wsc-ray" / LOG).read_text()

    own = [start(head.ec2, "wsc-ray", kind) for kind in ("head", "worker", "worker")]
    others = [start(head.ec2, "wsc-ray-2", "head"), start(head.ec2, "wsc-ray-2", "worker")]
    done = head(begin)
    assert done.returncode == 0, done.stderr
    began = time.monotonic()
    assert alive(head.ec2, own) == own
    until(lambda: alive(head.ec2, own) == own[:1], IDLE + 60)
    assert time.monotonic() - began > IDLE - 1
    until(lambda: not alive(head.ec2, own), 60)
    assert alive(head.ec2, others) == others
    until(lambda: not head.net.processes(), 60)
    assert "no job had run for 6 seconds" in (head.home / ".wsc-ray" / LOG).read_text()
    head.ec2.terminate_instances(InstanceIds=others)
