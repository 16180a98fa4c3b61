"""The output of a benchmark: a folder that is checked before the work starts, and the command line that repeats it."""

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
    """Return the folder as an absolute path, if a benchmark may write to it: it is new, empty, or of an earlier `command`.

    Raises:
        RunFolderError: the folder is a URI or a file, or holds something else.
    """
    if "://" in str(out):
        raise RunFolderError(f"{out}: --out is a folder on this machine, not a URI")
    path = local_path(out)
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file; give a folder that is new as --out")
    earlier = read_summary(path)
    ours = isinstance(earlier, dict) and earlier.get("command") == command
    if path.is_dir() and not all(is_ignored(entry.name) for entry in path.iterdir()) and not ours:
        raise RunFolderError(f"{path} holds something else than a `{command}`; give a folder that is new as --out")
    _require_writable(path)
    return path


def require_file(path: str | Path) -> Path:
    """Return the absolute path of a file that is written at the end; an existing file will be replaced.

    Raises:
        RunFolderError: the path is a folder, or its folder is not writable.
    """
    path = local_path(path)
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder; give a file, such as {path.name}/page.md")
    _require_writable(path.parent)
    return path


def _require_writable(folder: Path) -> None:
    """Check that a folder can be made and written, so that hours of measuring are not lost."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder} cannot be written: {existing} is not a folder that you may write to")


def invocation(program: str, options: Mapping[str, Any], markdown: str | Path | None) -> str:
    """Return the command line that repeats a benchmark, also if it was called as a function.

    Args:
        program: the beginning of the line, such as `wsc-ray bench scaling`.
        options: the values by the function's names; True is a flag, None and False are left out, a list is joined with commas.
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
