"""Turn an error of a disk, a mount or a system limit into a sentence for the user.

Only the user can mend a full disk, a folder without write permission, a share that is gone, or a folder that somebody deleted while the
command ran. Other errors of the system are our own mistakes, and keep their traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsc_ray.errors import RunFolderError
from wsc_ray.places import PLACE
from wsc_ray.uris import reason_about, shown

_REFUSED = {  # whichever file it is about
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room, also by a quota or by `ulimit -f`
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO),  # a disk or a mount that fails or is gone
    *(errno.EMFILE, errno.ENFILE),
}
_ABOUT_A_PATH = {  # only if the error names the path
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EBUSY),
}

_ROOM = 1 << 20  # bytes


@contextlib.contextmanager
def explained(out: Any = None) -> Iterator[None]:
    """Raise `RunFolderError` instead of an `OSError` that only the user can mend.

    Args:
        out: the place that is named where the error names none; errors about a URI are those of its store.
    """
    try:
        yield
    except OSError as raised:
        error = getattr(raised, "cause", raised)  # Ray wraps what a task raised, without its errno
        if not isinstance(error, OSError):
            raise
        place = error.filename or getattr(error, PLACE, out)
        if error.errno is None and "://" in str(place):
            raise RunFolderError(f"{shown(place)} cannot be used: {reason_about(str(place), error)}") from raised
        if error.errno is None or (
            error.errno not in _REFUSED and not (error.errno in _ABOUT_A_PATH and error.filename)
        ):
            raise
        named = f"{shown(place)} cannot be used" if place else "a file cannot be used"
        raise RunFolderError(
            f"{named}: {os.strerror(error.errno)}; the same command goes on once that is mended"
        ) from raised


def check_room(folder: Any) -> None:
    """Try to write a mebibyte into a local folder; libraries that failed there say anything but that the disk is full.

    Raises:
        OSError: the folder cannot hold it.
    """
    if isinstance(folder, Path):
        probe = folder / f".room.{secrets.token_hex(4)}"
        try:
            probe.write_bytes(bytes(_ROOM))
        finally:
            probe.unlink(missing_ok=True)
