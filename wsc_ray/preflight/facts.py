"""What the nodes of a cluster say of themselves: plain data that `preflight` judges.

None of it needs Ray, so that a wrong cluster can be written down in a test.
"""

from __future__ import annotations

from dataclasses import dataclass

# Packages that the commands need, whose versions are told.
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
    """How one node gets on with the folder of the results.

    Attributes:
        sees: it read what another node had written there.
        seen: another node read what it had written.
        problem: what reading or writing ended with, "" where it went well.
        write_mb_s, read_mb_s: of one file, MB/s.
    """

    sees: bool = False
    seen: bool = False
    problem: str = ""
    write_mb_s: float = 0.0
    read_mb_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        versions: of Python, CUDA and the packages that the commands need; None where one is missing.
        cpus, gpus: that Ray may give away.
        gpus_seen: that torch sees.
        ahead: its clock beyond that of the node which asks, s; 0 where the difference cannot be told from the time
            that asking took.
        manifest: why it cannot read the manifest, "" where it can.
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
    """All of it.

    Attributes:
        nodes: those that answered.
        silent: names of those that did not, within the time they had.
        out: where results go, None where no command has said.
        manifest: what is to be read, None likewise.
        tracking: the MLflow store without its password, and why it cannot be used ("" where it can).
        cpus: why the CPUs or GPUs do not suffice, "" where they do.
        reduce: None where nothing is reduced, such as by a single worker.
    """

    nodes: tuple[Node, ...]
    silent: tuple[str, ...] = ()
    out: str | None = None
    manifest: str | None = None
    tracking: tuple[str, str] = ("", "")
    cpus: str = ""
    reduce: Reduce | None = None
