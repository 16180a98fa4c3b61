"""The environment of a benchmark: machine, versions and commit, without which its figures cannot be repeated."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

import wsc_ray


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(threads: int) -> dict[str, Any]:
    """Return a description of the machine; `threads` is the number of cores that were used at a time."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": threads,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """Return the processor's name, or the architecture if the system gives no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the installed versions by distribution name; None for a package that is not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(root: Path | None = None) -> str | None:
    """Return the commit of the checkout that this package runs from, with `+changes` if files differ from it.

    Return None outside a checkout, or without git.
    """
    root = root or Path(wsc_ray.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def unquiet(load: float, cores: int) -> list[str]:
    """Return a remark if the machine was busy when the benchmark began; `load` is the average of the last minute."""
    if load <= 0.5 * cores:
        return []
    return [f"The machine was not quiet: its load was {load:.1f} before this began."]
