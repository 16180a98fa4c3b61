"""The copy of a cluster file that is kept beside a run: it holds the values listed here, and `(removed)` for all others.

An allow list cannot miss a secret that nobody thought of. The kept values tell which machines a run had: types, images, numbers,
regions, names. Commands, mounts, environment variables, keys and accounts are always removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from wsc_ray.provision.cluster_file import ClusterFile

REMOVED = "(removed)"
VALUE = True  # keep a number, a text, or a list of these
ANY = "*"  # stands for every key without an entry of its own: names that users choose
# VALUE, or for a mapping what is kept of each key; for a list, what is kept of each item.
Kept = bool | Mapping[str, Any]


def without_secrets(file: ClusterFile) -> str:
    """Return the YAML of a cluster file with `(removed)` in place of every value that is not known to be harmless."""
    kept = [_kept_of(document, file.kind) for document in file.documents]
    documents = [_filtered(document, keys) for document, keys in zip(file.documents, kept, strict=True)]
    return yaml.safe_dump_all(documents, sort_keys=False)


def _values(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), VALUE)


# https://docs.ray.io/en/latest/cluster/vms/references/ray-cluster-configuration.html
_EC2 = {  # of `run_instances`
    **_values("InstanceType ImageId"),
    "InstanceMarketOptions": _values("MarketType"),
    "BlockDeviceMappings": {**_values("DeviceName"), "Ebs": _values("VolumeSize VolumeType Encrypted Iops Throughput")},
}
_GCE = {  # of `instances.insert`
    **_values("machineType"),
    "disks": {**_values("boot autoDelete type"), "initializeParams": _values("diskSizeGb sourceImage diskType")},
    "guestAccelerators": _values("acceleratorType acceleratorCount"),
    "scheduling": _values("provisioningModel preemptible instanceTerminationAction onHostMaintenance automaticRestart"),
}
_LAUNCHER: Kept = {
    **_values("cluster_name min_workers max_workers upscaling_speed idle_timeout_minutes head_node_type rsync_exclude"),
    "metadata": _values("storage"),
    "provider": _values(
        "type region availability_zone zone project_id cache_stopped_nodes use_internal_ips head_ip worker_ips"
    ),
    "auth": _values("ssh_user"),
    "docker": _values("image head_image worker_image pull_before_run"),
    "available_node_types": {
        ANY: {
            **_values("min_workers max_workers"),
            "resources": {ANY: VALUE},
            "node_config": {**_EC2, **_GCE},
            "docker": _values("image head_image worker_image"),
        }
    },
}

# https://ray-project.github.io/kuberay/reference/api/
_POD = {
    "spec": {
        "containers": {
            **_values("name image"),
            "resources": {"limits": {ANY: VALUE}, "requests": {ANY: VALUE}},
            "env": _values("name"),
            "volumeMounts": _values("name mountPath"),
        },
        "nodeSelector": {ANY: VALUE},
        "tolerations": _values("key operator value effect"),
        "volumes": {**_values("name"), "persistentVolumeClaim": _values("claimName")},
    }
}
_GROUP = {
    **_values("groupName replicas minReplicas maxReplicas numOfHosts"),
    "rayStartParams": _values("num-cpus num-gpus memory object-store-memory dashboard-host"),
    "template": _POD,
}
_CLUSTER = {
    **_values("rayVersion enableInTreeAutoscaling"),
    "authOptions": _values("mode"),
    "autoscalerOptions": _values("idleTimeoutSeconds upscalingMode"),
    "headGroupSpec": _GROUP,
    "workerGroupSpecs": _GROUP,
}
_NAMED = {**_values("apiVersion kind"), "metadata": _values("name namespace")}  # of every object of Kubernetes
_RAY_NAMED = {**_NAMED, "metadata": {**_NAMED["metadata"], "annotations": _values("wsc-ray/storage wsc-ray/image")}}
_KUBERNETES: Mapping[str, Kept] = {
    "RayCluster": {**_RAY_NAMED, "spec": _CLUSTER},
    "RayJob": {**_RAY_NAMED, "spec": {"rayClusterSpec": _CLUSTER}},
    "PersistentVolumeClaim": {
        **_NAMED,
        "spec": {**_values("accessModes storageClassName"), "resources": {"requests": {ANY: VALUE}}},
    },
}


def _kept_of(document: Any, kind: str) -> Kept:
    if kind == "launcher":
        return _LAUNCHER
    return _KUBERNETES.get(str(document.get("kind")), _NAMED) if isinstance(document, Mapping) else {}


def _filtered(value: Any, kept: Kept | None) -> Any:
    """Return the part of `value` that `kept` lists, with `(removed)` for all else, values of an unexpected form included."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_filtered(item, kept) for item in value] if kept else REMOVED
    if isinstance(value, Mapping):
        if not isinstance(kept, Mapping):
            return REMOVED
        return {key: _filtered(item, kept.get(key, kept.get(ANY))) for key, item in value.items()}
    if kept is not VALUE:
        return REMOVED
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Return a text without the parts of a URI that may hold a login: the user before the host, and the query."""
    return re.sub(r"\?\S*", "", re.sub(r"(\w://)[^/\s@]*@", r"\1", text))
