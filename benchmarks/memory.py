"""Peak memory of a piece of work in this process, and a limit that ends the work instead of the machine.

*Extra* memory is the highest resident set (RSS) while the work runs, minus the RSS just before. On Linux the kernel
keeps the highest RSS (VmHWM in /proc/self/status) and starts it anew when "5" is written to /proc/self/clear_refs
(proc(5)). If that is not possible, the highest RSS since the process started (`ru_maxrss`) is used: it is too high if
something before the work needed more, but never too low. Freed memory that the allocator keeps would hide the work's
memory, so that it is returned first (glibc's malloc_trim).

The limit is RLIMIT_DATA (getrlimit(2)): private writable memory, so that an allocation beyond it fails at once, while
the libraries' file mappings, which RLIMIT_AS would count in GB, do not matter.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_STATUS = Path("/proc/self/status")


class Peak(NamedTuple):
    """Bytes: above what was there before, and of the whole process."""

    extra: int
    total: int


class Looks:
    """A thread that calls a function again and again while its block runs, the first time at once.

    Args:
        look: what it calls, such as a look at some processes' resident sets.
        every: seconds between two calls.
    """

    def __init__(self, look: Callable[[], None], every: float):
        self._look, self._every = look, every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        self._look()
        while not self._ended.wait(self._every):
            self._look()


def peak_of(work: Callable[[], object]) -> Peak:
    """Run `work` and say what it needed at its peak."""
    give_back_freed()
    before = resident()
    fresh = _reset_peak()
    work()
    total = _status_bytes("VmHWM") if fresh else _highest_ever()
    return Peak(max(total - before, 0), total)


def resident() -> int:
    """This process's resident set in bytes."""
    import psutil

    return _status_bytes("VmRSS") if _STATUS.exists() else psutil.Process().memory_info().rss


def limit_extra(allowed: int) -> None:
    """Let this process take about `allowed` bytes more and fail (out of memory) beyond; only on Linux."""
    if not _STATUS.exists():
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _status_bytes("VmData") + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: Python's own, or torch's RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and re.search(r"can't allocate memory|not enough memory|out of memory|bad_alloc", str(error)) is not None
    )


def give_back_freed() -> None:
    """Return freed memory to the system, where the C library can."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024


def _highest_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
