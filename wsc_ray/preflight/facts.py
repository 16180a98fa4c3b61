"""The facts about a cluster's nodes: plain data, which `verdicts` judges.

It needs no Ray, so that a test can describe a faulty cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

# Packages that the commands need, and whose versions are reported.
NEEDED = (
    "ray",
    "torch",
    "torchvision",
    "timm",
    "pyarrow",
    "mlflow",
    "opencv-python-headless",
    "simplejpeg",
    "h5py",
    "safetensors",
)


@dataclass(frozen=True)
class Storage:
    """One node's access to the folder of the results.

    Attributes:
        sees: whether the node read the file that another node wrote there.
        seen: whether the file that this node wrote was found beside that one.
        problem: the error of reading or writing, "" for none.
        write_mb_s, read_mb_s: speed of writing and reading one file, MB/s.
    """

    sees: bool = False
    seen: bool = False
    problem: str = ""
    write_mb_s: float = 0.0
    read_mb_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """One node of the cluster.

    Attributes:
        versions: versions of Python, CUDA and the packages that the commands need; None for a missing one.
        cpus, gpus: number of CPUs and GPUs that Ray may assign.
        gpus_seen: number of GPUs that torch sees.
        ahead: seconds by which the node's clock is ahead of the clock of the node that gathers the facts; 0 if the difference is
            smaller than the time of the query.
        manifest: why the node cannot read the manifest or the features, "" if it can.
    """

    name: str
    versions: dict[str, str | None]
    cpus: float
    gpus: int = 0
    gpus_seen: int = 0
    ahead: float = 0.0
    storage: Storage | None = None
    manifest: str = ""


@dataclass(frozen=True)
class Reduce:
    """An all-reduce over the nodes; `gb_s` is its bus bandwidth, 2 (n - 1) / n times the bytes over the seconds."""

    backend: str
    members: int
    gb_s: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Facts:
    """All facts about a cluster.

    Attributes:
        nodes: the nodes that answered.
        silent: names of the nodes that did not answer in time.
        out: the folder of the results; None if there is none.
        manifest: the manifest or feature store to read; None if there is none.
        tracking: the MLflow store without its password, and why it cannot be used ("" if it can).
        cpus: why the CPUs or GPUs do not suffice, "" if they do.
        reduce: the trial all-reduce; None if none was done, as for a single worker.
    """

    nodes: tuple[Node, ...]
    silent: tuple[str, ...] = ()
    out: str | None = None
    manifest: str | None = None
    tracking: tuple[str, str] = ("", "")
    cpus: str = ""
    reduce: Reduce | None = None
