"""What this machine has of what the commands need: a line each."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from typing import Literal, TypedDict

from wsc_ray.errors import TrackingError
from wsc_ray.tracking import connect, tracking_uri, without_password


class Line(TypedDict):
    """`state` is ok, warn (works without) or fail (mend it first); `detail` says what is there or how to mend it."""

    state: Literal["ok", "warn", "fail"]
    what: str
    detail: str


NEEDED = ("ray", "torch", "torchvision", "timm", "pyarrow", "mlflow", "opencv-python-headless", "h5py")
OPTIONAL = {
    "faiss": "nearest patches; pip install 'wsc-ray[cpu]' or 'wsc-ray[gpu]'",
    "openslide": "reading slides; pip install 'wsc-ray[cpu]'",
    "cucim": "reading slides fast; pip install 'wsc-ray[gpu]'",
}


def doctor() -> list[Line]:
    """Look at Python, packages, CPUs, memory, GPUs, disk and the MLflow store; nothing is changed."""
    return [
        _python(),
        *(_package(name) for name in NEEDED),
        *(_optional(*item) for item in OPTIONAL.items()),
        *_machine(),
        _mlflow(),
    ]


def _line(state: Literal["ok", "warn", "fail"], what: str, detail: str) -> Line:
    return {"state": state, "what": what, "detail": detail}


def _python() -> Line:
    version = platform.python_version()
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 11):
        return _line("fail", "python", f"{version}; install 3.11 or later")
    return _line("ok", "python", version)


def _package(name: str) -> Line:
    try:
        return _line("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _line("fail", name, f"missing; pip install {name}")


def _optional(module: str, hint: str) -> Line:
    try:
        found = importlib.import_module(module)
        return _line("ok", module, getattr(found, "__version__", "there"))
    except Exception as error:  # a broken native library is as good as none, and is said
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else str(error).splitlines()[0]
        return _line("warn", module, f"{reason}; for {hint}")


def _machine() -> list[Line]:
    import psutil
    import torch

    cpus = os.cpu_count() or 1
    memory = psutil.virtual_memory()
    lines = [
        _line(
            "ok" if cpus > 1 else "warn", "cpus", f"{cpus}" if cpus > 1 else "1; training and reading take turns on it"
        ),
        _line(
            "ok" if memory.available > 4 << 30 else "warn",
            "memory",
            f"{memory.available >> 30} of {memory.total >> 30} GiB free",
        ),
    ]
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        lines.append(_line("ok", "gpu", names))
    else:
        lines.append(
            _line("warn", "gpu", "none; training runs on the CPU, for trials with small crops and encoders only")
        )
    shared = "/dev/shm"
    if os.path.isdir(shared):
        free = shutil.disk_usage(shared).free
        fix = "small; Ray's object store will use the disk: in a container give --shm-size=4g"
        lines.append(
            _line("ok" if free > 1 << 30 else "warn", shared, f"{free >> 20} MiB free" if free > 1 << 30 else fix)
        )
    free = shutil.disk_usage(".").free
    lines.append(_line("ok" if free > 5 << 30 else "warn", "disk here", f"{free >> 30} GiB free"))
    return lines


def _mlflow() -> Line:
    uri = tracking_uri(None)
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        folder = os.path.dirname(uri.removeprefix("sqlite:///"))
        if os.access(folder, os.W_OK):
            return _line("ok", "mlflow store", f"{uri} (will be made)")
        return _line("fail", "mlflow store", f"{folder} is not writable; set MLFLOW_TRACKING_URI")
    try:
        connect(uri, "wsc-ray")
    except TrackingError as error:
        return _line("fail", "mlflow store", str(error))
    return _line("ok", "mlflow store", without_password(uri))
