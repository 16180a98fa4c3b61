"""Listing and terminating the machines of a cluster in a cloud, from its head.

`ray down` is not used: it first logs in to the head, which may not work from the head itself, and it terminates all machines at
once. Here the head is terminated last, so that it can try again if a worker's termination fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TAG = "ray-cluster-name"  # the tag by which Ray's launcher marks the machines of a cluster
KIND = "ray-node-type"
_HEAD = "head"


@dataclass(frozen=True)
class Machine:
    id: str
    head: bool


class Cloud(Protocol):
    """A cloud's machines of one cluster, without those that cost nothing any more."""

    def machines(self) -> list[Machine]: ...
    def terminate(self, ids: list[str]) -> None: ...


class Aws:
    """Machines of EC2; the head's IAM role may list all machines, and terminate those of its own cluster."""

    def __init__(self, cluster: str, provider: Mapping[str, Any]):
        import boto3

        self.cluster = cluster
        self.ec2 = boto3.client("ec2", region_name=provider["region"])

    def machines(self) -> list[Machine]:
        states = ["pending", "running", "stopping", "stopped"]
        filters = [
            {"Name": f"tag:{TAG}", "Values": [self.cluster]},
            {"Name": "instance-state-name", "Values": states},
        ]
        machines = []
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for instance in (instance for group in page["Reservations"] for instance in group["Instances"]):
                tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
                machines.append(Machine(instance["InstanceId"], tags.get(KIND) == _HEAD))
        return machines

    def terminate(self, ids: list[str]) -> None:
        self.ec2.terminate_instances(InstanceIds=ids)


class Gcp:
    """Machines of Compute Engine in the cluster's zone."""

    def __init__(self, cluster: str, provider: Mapping[str, Any]):
        from googleapiclient import discovery

        self.cluster = cluster
        self.place = {"project": provider["project_id"], "zone": provider["availability_zone"]}
        self.instances = discovery.build("compute", "v1", cache_discovery=False).instances()

    def machines(self) -> list[Machine]:
        machines, request = [], self.instances.list(**self.place, filter=f"labels.{TAG}={self.cluster}")
        while request is not None:
            answer = request.execute()
            for instance in answer.get("items", []):
                if instance["status"] not in ("STOPPING", "TERMINATED"):
                    machines.append(Machine(instance["name"], instance.get("labels", {}).get(KIND) == _HEAD))
            request = self.instances.list_next(request, answer)
        return machines

    def terminate(self, ids: list[str]) -> None:
        for name in ids:
            self.instances.delete(**self.place, instance=name).execute()


CLOUDS: dict[str, type[Aws] | type[Gcp]] = {"aws": Aws, "gcp": Gcp}


def end_step(cloud: Cloud) -> bool:
    """Terminate the remaining workers, or the head if there are none; return False if no machine is left."""
    left = cloud.machines()
    workers = [machine.id for machine in left if not machine.head]
    heads = [machine.id for machine in left if machine.head]
    if workers or heads:
        cloud.terminate(workers or heads)
    return bool(left)
