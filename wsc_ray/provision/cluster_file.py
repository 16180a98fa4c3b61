"""Reading a cluster file: its format, the cluster's name, provider, smallest number of nodes and storage.

There are two formats: that of Ray's cluster launcher (AWS, Google Cloud, machines with SSH), and KubeRay's `RayCluster` or `RayJob`.
A `RayJob` is read for its cluster only; its job is ignored, since the command submits its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsc_ray import plain_yaml
from wsc_ray.errors import ClusterError
from wsc_ray.places import local_path

_MARK = re.compile(r"[\w./-]*CHANGE-ME[\w-]*")


@dataclass(frozen=True)
class ClusterFile:
    """A checked cluster file.

    Attributes:
        kind: the tool that brings the cluster up.
        name: the cluster's name.
        provider: `local`, `aws`, `gcp`, ... for Ray's launcher, or `kuberay`.
        nodes: the number of nodes that start with the cluster: the head and the smallest number of workers.
        documents: the parsed YAML documents.
    """

    path: Path
    kind: Literal["launcher", "kuberay"]
    name: str
    provider: str
    nodes: int
    documents: tuple[Any, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """The document that describes the cluster."""
        if self.kind == "launcher":
            return self.documents[0]
        cluster = _ray_cluster(self.documents)
        assert cluster is not None  # a file of kind kuberay has one, see `_described`
        return cluster

    @property
    def storage(self) -> str | None:
        """The place for runs without a given folder: a URI, or a folder that every node mounts; None if the file names none.

        The launcher's schema leaves `metadata` to its users; in a RayCluster it is the annotation `wsc-ray/storage`.
        """
        metadata = self.config.get("metadata") or {}
        entries = metadata if self.kind == "launcher" else metadata.get("annotations") or {}
        storage = entries.get("storage" if self.kind == "launcher" else "wsc-ray/storage")
        return str(storage) if storage else None


def read_cluster_file(path: str | Path) -> ClusterFile:
    """Read and check a cluster file.

    Raises:
        ClusterError: the file does not exist, is not YAML, has neither format, or still holds a CHANGE-ME.
    """
    path = local_path(path)
    try:
        text = path.read_text(encoding="utf-8")
        documents = tuple(document for document in plain_yaml.load_all(text) if document is not None)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ClusterError(f"--cluster {path}: cannot be read: {reason}") from None
    except plain_yaml.YamlError as error:
        raise ClusterError(f"--cluster {path}: {error}") from None
    try:
        kind, name, provider, nodes = _described(path, documents)
    except ClusterError:
        raise
    except KeyError as error:
        raise ClusterError(f"--cluster {path}: {error.args[0]} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ClusterError(f"--cluster {path}: not in the format of Ray's launcher or KubeRay: {error}") from None
    # Only values are searched: a comment may mention CHANGE-ME.
    unchanged = sorted({mark for document in documents for text in _texts(document) for mark in _MARK.findall(text)})
    if unchanged:
        raise ClusterError(f"--cluster {path}: put your own values for {', '.join(unchanged)}")
    return ClusterFile(path, kind, name, provider, nodes, documents)


def _described(path: Path, documents: tuple[Any, ...]) -> tuple[Literal["launcher", "kuberay"], str, str, int]:
    first = documents[0] if documents else None
    if isinstance(first, Mapping) and "cluster_name" in first and isinstance(first.get("provider"), Mapping):
        provider = str(first["provider"].get("type"))
        return "launcher", str(first["cluster_name"]), provider, 1 + _launcher_workers(path, first)
    cluster = _ray_cluster(documents)
    if cluster is not None:
        groups = cluster.get("spec", {}).get("workerGroupSpecs") or []
        workers = sum(int(group.get("minReplicas", group.get("replicas", 0))) for group in groups)
        return "kuberay", str(cluster["metadata"]["name"]), "kuberay", 1 + workers
    raise ClusterError(
        f"--cluster {path}: neither a file of Ray's cluster launcher (with cluster_name and provider) nor a RayCluster or RayJob "
        "of KubeRay; cluster/ has one of each to start from"
    )


def _launcher_workers(path: Path, config: Mapping[str, Any]) -> int:
    provider = config["provider"]
    if provider.get("type") == "local":
        if not provider.get("head_ip"):
            raise ClusterError(f"--cluster {path}: provider.head_ip is missing: the machine that plans")
        if not config["auth"]["ssh_user"]:
            raise ClusterError(f"--cluster {path}: auth.ssh_user is missing: who logs in to the machines")
        machines = len(provider.get("worker_ips") or [])
        return min(int(config.get("min_workers", machines)), machines)
    types = config.get("available_node_types") or {}
    head = config.get("head_node_type")
    return sum(int(node_type.get("min_workers", 0)) for name, node_type in types.items() if name != head)


def to_apply(documents: tuple[Any, ...]) -> list[Any]:
    """Return the documents to apply with kubectl; a `RayJob` becomes a `RayCluster` of the same name.

    The API: https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/rayjob-quick-start.html
    """
    return [
        _cluster_of(document) if isinstance(document, Mapping) and document.get("kind") == "RayJob" else document
        for document in documents
    ]


def _cluster_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `RayCluster` that a `RayJob` describes.

    Raises:
        KeyError: the job selects an existing cluster instead of describing one.
    """
    kept = {name: job[name] for name in ("apiVersion", "metadata") if name in job}
    return {**kept, "kind": "RayCluster", "spec": job["spec"]["rayClusterSpec"]}


def _ray_cluster(documents: tuple[Any, ...]) -> Mapping[str, Any] | None:
    for document in to_apply(documents):
        if isinstance(document, Mapping) and document.get("kind") == "RayCluster":
            return document
    return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for pair in value.items() for item in pair for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
