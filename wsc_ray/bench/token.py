"""A token for the Ray nodes that a benchmark starts: their ports are open on every interface."""

from __future__ import annotations

import os
import secrets
import sys


def ask_for_a_token() -> None:
    """Let nobody without this process's token into the nodes that it starts.

    Ray takes the mode from the environment when it is imported, so that this comes before, and does nothing after. What
    the environment says already stays, and so does a cluster that RAY_ADDRESS names.
    """
    if "ray" in sys.modules or os.environ.get("RAY_ADDRESS"):
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
