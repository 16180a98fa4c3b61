"""The token that a local Ray asks for, which only its user may read.

Ray makes one where there is none, as a file that everybody may read (Ray 2.60), and fails where the home cannot be written.
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
    """Make `~/.ray/auth_token` where it is missing and the environment names no token.

    Where the home cannot be written, the token is this process's and its children's own, in RAY_AUTH_TOKEN.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return
    try:
        path = Path.home() / ".ray" / "auth_token"
        _make_private(path)
    except (OSError, RuntimeError):  # no home, or none to write to
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _make_private(path: Path) -> None:
    """
    Raises:
        OSError: the file cannot be made or read.
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
    known = path.stat()
    if hasattr(os, "getuid") and known.st_uid == os.getuid() and stat.S_IMODE(known.st_mode) & 0o077:
        path.chmod(0o600)
