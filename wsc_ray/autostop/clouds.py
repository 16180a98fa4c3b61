"""The machines of a cluster in a cloud, as its head sees them, and their end.

Ray's own `ray down` logs in to the head first, which a head cannot count on doing from within, and ends all machines at
once. Here the head goes last: while it stands, somebody can still try again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TAG = "ray-cluster-name"  # with which Ray's launcher marks the machines of a cluster
KIND = "ray-node-type"
_HEAD = "head"


@dataclass(frozen=True)
class Machine:
    id: str
    head: bool


class Cloud(Protocol):
    """The machines of one cluster that still cost something."""

    def machines(self) -> list[Machine]: ...
    def terminate(self, ids: list[str]) -> None: ...


class Aws:
    """Machines of EC2; the head's role may list all, and end those of its own cluster."""

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
        found = []
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for instance in (each for group in page["Reservations"] for each in group["Instances"]):
                tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
                found.append(Machine(instance["InstanceId"], tags.get(KIND) == _HEAD))
        return found

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
        found, request = [], self.instances.list(**self.place, filter=f"labels.{TAG}={self.cluster}")
        while request is not None:
            answer = request.execute()
            for instance in answer.get("items", []):
                if instance["status"] not in ("STOPPING", "TERMINATED"):
                    found.append(Machine(instance["name"], instance.get("labels", {}).get(KIND) == _HEAD))
            request = self.instances.list_next(request, answer)
        return found

    def terminate(self, ids: list[str]) -> None:
        for name in ids:
            self.instances.delete(**self.place, instance=name).execute()


CLOUDS: dict[str, type[Aws] | type[Gcp]] = {"aws": Aws, "gcp": Gcp}


def end_step(cloud: Cloud) -> bool:
    """End the workers that are left, or the head once there are none; False once nothing is left."""
    left = cloud.machines()
    workers = [machine.id for machine in left if not machine.head]
    heads = [machine.id for machine in left if machine.head]
    if workers or heads:
        cloud.terminate(workers or heads)
    return bool(left)
