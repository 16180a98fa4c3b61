"""A token for the Ray nodes that a benchmark starts: their ports are open on every interface."""

from __future__ import annotations

import os
import secrets
import sys


def ask_for_a_token() -> None:
    """Make the Ray nodes that this process starts require its token.

    Ray reads the mode from the environment when it is imported: call this function before; later it does nothing. It does not change
    variables that are set already, or anything if RAY_ADDRESS names a cluster.
    """
    if "ray" in sys.modules or os.environ.get("RAY_ADDRESS"):
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
