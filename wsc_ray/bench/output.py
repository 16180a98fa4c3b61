"""What a benchmark leaves: a folder that is checked before the work starts, and the command line that does it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsc_ray.errors import RunFolderError
from wsc_ray.files import is_ignored, read_summary
from wsc_ray.places import local_path
from wsc_ray.uris import without_secrets


def require_folder(out: str | Path, command: str) -> Path:
    """The folder as an absolute path, if a benchmark may write there: new, empty, or an earlier one's of `command`.

    Raises:
        RunFolderError: it is a URI, a file, or holds something else.
    """
    if "://" in str(out):
        raise RunFolderError(f"{out}: --out is a folder on this machine, not a URI")
    path = local_path(out)
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file; give a folder that is new as --out")
    earlier = read_summary(path)
    ours = isinstance(earlier, dict) and earlier.get("command") == command
    if path.is_dir() and not all(is_ignored(each.name) for each in path.iterdir()) and not ours:
        raise RunFolderError(f"{path} holds something else than a `{command}`; give a folder that is new as --out")
    _require_writable(path)
    return path


def require_file(path: str | Path) -> Path:
    """A file to write in the end, as an absolute path; one that is there is replaced then.

    Raises:
        RunFolderError: it is a folder, or nothing can be written beside it.
    """
    path = local_path(path)
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder; give a file, such as {path.name}/page.md")
    _require_writable(path.parent)
    return path


def _require_writable(folder: Path) -> None:
    """Hours of measuring must not end at a folder that cannot be made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder} cannot be written: {there} is not a folder that you may write to")


def invocation(program: str, options: Mapping[str, Any], markdown: str | Path | None) -> str:
    """The command line that does this again, also where a notebook called the function.

    Args:
        program: what the line begins with, such as `wsc-ray bench scaling`.
        options: by the function's names; True is a flag, None and False are left out, a list has commas.
    """
    words = program.split()
    for name, value in {**options, "markdown": markdown}.items():
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            listed = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"{listed:g}" if isinstance(listed, float) else str(listed))
    return without_secrets(shlex.join(words))
