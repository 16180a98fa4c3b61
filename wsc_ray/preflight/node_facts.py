"""The tasks that the preflight runs on each node. They reserve nothing, so that they never wait for a resource."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import runpy
import time
from pathlib import Path
from typing import Any

from wsc_ray.preflight import storage_probe
from wsc_ray.preflight.facts import NEEDED
from wsc_ray.preflight.inputs import Opened, why_unreadable
from wsc_ray.preflight.storage_probe import Probe


def node_facts(node_id: str, gpus: int, trial: Probe | None, manifest: Opened | None) -> dict[str, Any]:
    """Return the facts that are measured on the node itself, by the names of `facts.Node`'s attributes.

    Args:
        gpus: number of GPUs that Ray may assign on this node.
        trial: the probe of the results' folder.
    """
    if gpus:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from a task that reserves none
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in NEEDED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    versions["cuda"], seen = None, 0
    if versions["torch"] and gpus:
        import torch

        versions["cuda"], seen = torch.version.cuda, torch.cuda.device_count()
    elif versions["torch"]:
        versions["cuda"] = _cuda_of_torch()
    return {
        "versions": versions,
        "gpus_seen": seen,
        "storage": storage_probe.look(trial, node_id) if trial else None,
        "manifest": why_unreadable(manifest) if manifest is not None else "",
    }


def _cuda_of_torch() -> str | None:
    """Return the CUDA version that torch is built for, from its file `version.py`: importing torch takes seconds."""
    found = importlib.util.find_spec("torch")
    assert found is not None  # it is installed
    return runpy.run_path(str(Path(str(found.origin)).with_name("version.py")))["cuda"]


def now() -> float:
    """Return this node's time, in seconds since 1970."""
    return time.time()
