"""The checks of `wsc-ray doctor`: whether this machine, or a cluster, has what the commands need."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from wsc_ray.errors import ClusterError
from wsc_ray.preflight.check_result import CheckResult, fail, ok, warn
from wsc_ray.preflight.facts import NEEDED
from wsc_ray.preflight.mlflow_store import look_at_store
from wsc_ray.tracking_store import tracking_uri

OPTIONAL = {
    "faiss": "nearest patches; pip install 'wsc-ray[cpu]' or 'wsc-ray[gpu]'",
    "openslide": "reading slides; pip install 'wsc-ray[cpu]'",
    "cucim": "reading slides fast; pip install 'wsc-ray[gpu]'",
}


def check_cluster(address: str, recipe: str | Path | None, out: str | Path | None) -> list[CheckResult]:
    """Run on the cluster the preflight that every job begins with, for this recipe and output folder; return its results.

    Raises:
        ClusterError: the cluster does not answer.
        JobError: the preflight failed before it printed its results.
    """
    from wsc_ray.submit.call import doctor_call
    from wsc_ray.submit.send import send_doctor

    return send_doctor(doctor_call(recipe=recipe, out=out), address)


def check_machine(recipe: str | Path | None = None, out: str | Path | None = None) -> list[CheckResult]:
    """Check Python, packages, CPUs, memory, GPUs, disk and the MLflow store of this machine.

    Raises:
        ClusterError: a recipe or a folder is given; these are checked on a cluster only.
    """
    if recipe or out:
        raise ClusterError("--recipe and --out are checked on a cluster only; give its --address too")
    return [
        _python(),
        *(_package(name) for name in NEEDED),
        *(_optional(*item) for item in OPTIONAL.items()),
        *_machine(),
        _mlflow(),
    ]


def _python() -> CheckResult:
    version = platform.python_version()
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 11):
        return fail("python", f"{version}; install 3.11 or later")
    return ok("python", version)


def _package(name: str) -> CheckResult:
    try:
        return ok(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return fail(name, f"missing; pip install {name}")


def _optional(module: str, hint: str) -> CheckResult:
    try:
        imported = importlib.import_module(module)
        return ok(module, getattr(imported, "__version__", "installed"))
    except Exception as error:  # a native library that is broken counts as missing, and its error is shown
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else str(error).splitlines()[0]
        return warn(module, f"{reason}; for {hint}")


def _machine() -> list[CheckResult]:
    import psutil
    import torch

    cpus = os.cpu_count() or 1
    memory = psutil.virtual_memory()
    lines = [
        ok("cpus", f"{cpus}") if cpus > 1 else warn("cpus", "1; training and reading take turns on it"),
        (ok if memory.available > 4 << 30 else warn)(
            "memory", f"{memory.available >> 30} of {memory.total >> 30} GiB free"
        ),
    ]
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        lines.append(ok("gpu", names))
    else:
        lines.append(
            warn("gpu", "none; training runs on the CPU, which is fast enough only to try small crops and encoders")
        )
    shared = "/dev/shm"
    if os.path.isdir(shared):
        free = shutil.disk_usage(shared).free
        fix = "small; Ray's object store will use the disk: in a container give --shm-size=4g"
        lines.append(ok(shared, f"{free >> 20} MiB free") if free > 1 << 30 else warn(shared, fix))
    free = shutil.disk_usage(".").free
    lines.append((ok if free > 5 << 30 else warn)("disk here", f"{free >> 30} GiB free"))
    return lines


def _mlflow() -> CheckResult:
    store, problem = look_at_store(tracking_uri(None))
    return fail("mlflow store", problem) if problem else ok("mlflow store", store)
