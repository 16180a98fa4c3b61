"""The authentication token of a local Ray, in a file that only its user may read.

Without a token Ray creates one, in a file that everybody may read (Ray 2.60), and fails if the home folder is not writable.
https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare_token() -> None:
    """Create `~/.ray/auth_token` if it is missing and the environment names no token.

    If the home folder is not writable, set RAY_AUTH_TOKEN to a token for this process and its children.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return
    try:
        path = Path.home() / ".ray" / "auth_token"
        _make_private(path)
    except (OSError, RuntimeError):  # no home folder, or not writable
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _make_private(path: Path) -> None:
    """Create the token file if it is missing, and make it private.

    Raises:
        OSError: the file cannot be created or read.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # another command was faster
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    path.read_bytes()
    status = path.stat()
    if hasattr(os, "getuid") and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(0o600)
