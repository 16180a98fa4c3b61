"""Keeping a local Ray on the loopback interface.

By default Ray opens its ports on every network interface, except on Windows and macOS, where it supports no clusters of several nodes.
The variable RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER switches this behaviour on every system. Ray reads it when it is imported, so that in a
process that imported Ray before calling a command, Ray's ports stay open on every interface.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """Keep a local Ray that is first imported during the block on the loopback interface.

    It does nothing if RAY_ADDRESS names a cluster, or if the user has set the variable.
    """
    if os.environ.get("RAY_ADDRESS") or _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "0"
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
