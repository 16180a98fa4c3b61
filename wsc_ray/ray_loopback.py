"""A local Ray listens on the loopback interface alone.

Ray gives its node the machine's address and opens its ports on every interface, except where it supports no clusters of several
nodes, which is on Windows and macOS. RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER decides that on every system. Ray reads it when it is imported,
so that a process that has imported Ray before it calls a command keeps Ray's ports on every interface.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """Inside, Ray's first import in this process makes it a Ray for this machine alone, except where RAY_ADDRESS names a cluster or the
    user has set the variable."""
    if os.environ.get("RAY_ADDRESS") or _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "0"
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
