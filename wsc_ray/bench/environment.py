"""Where and with what a benchmark ran: machine, versions, commit. Figures without them cannot be repeated."""

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
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(threads: int) -> dict[str, Any]:
    """The machine in words and numbers; `threads` is how many of its cores were used at a time."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": threads,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """The processor's name as the system gives it; the architecture where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Installed versions by distribution name; None where one is not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(root: Path | None = None) -> str | None:
    """The commit of the checkout that this package runs from, `+changes` behind it where files differ from it.

    None outside a checkout, or without git.
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
    """A remark where others worked on the machine when the benchmark began: `load` is the last minute's average."""
    if load <= 0.5 * cores:
        return []
    return [f"The machine was not quiet: its load was {load:.1f} before this began."]
