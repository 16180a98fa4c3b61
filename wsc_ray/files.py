"""Files on this machine: written in one step, JSON, and which ids can be file names."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ ()+=@-]*")


def is_file_name(text: str) -> bool:
    """Whether an id can be a file name on every system as it is: no separators, no leading dot, at most 200 bytes."""
    return bool(_FILE_NAME.fullmatch(text)) and len(text.encode()) <= 200 and not text.endswith((" ", "."))


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON in one step: a reader sees the old file or the new, never half of it."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def write_summary(folder: Path, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write `summary.json` into a command's output folder and return what was written."""
    summary = {"command": command, **values}
    write_json(folder / "summary.json", summary)
    return summary


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What a command that has come to its end left in `folder`; None where it has not."""
    try:
        return json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return None
