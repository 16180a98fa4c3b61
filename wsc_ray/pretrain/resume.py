"""Find the checkpoint that a command resumes from: the newest one that is whole and undamaged.

Ray Train keeps notes on its checkpoints in their folder, and would resume from the newest one without checking it. A
command that is typed again checks the checkpoints itself and deletes Ray Train's notes. Damaged checkpoints are
skipped, and notes that are damaged or of another version of Ray do no harm. Workers that are replaced while the command
runs get their checkpoint from Ray Train.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from wsc_ray.errors import UserError
from wsc_ray.files import local_folder
from wsc_ray.pretrain import checkpoint
from wsc_ray.storage import AnyPath

PREFIX = "checkpoint_"  # then the step, in nine digits


def checkpoint_name(step: int) -> str:
    return f"{PREFIX}{step:09d}"


def newest_whole(folder: AnyPath) -> str | None:
    """Return the name of the newest undamaged checkpoint, None where there is none; warn of damaged ones on stderr.

    Args:
        folder: the folder of a run's checkpoints; may be missing.
    """
    names = _names(folder)
    for name in reversed(names):
        try:
            with local_folder(folder / name) as local:
                checkpoint.check(local)
        except UserError as error:
            _say(f"warning: {name} is passed over: {error}")
        else:
            return name
    if names:
        _say("warning: no checkpoint is whole; the run begins anew")
    return None


def forget_notes(folder: AnyPath) -> None:
    """Delete Ray Train's notes on the checkpoints in a folder, which are JSON files beside them."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)


def keep_newest(folder: AnyPath, last: str, count: int) -> None:
    """Delete the oldest checkpoints before `last`, so that `count` remain, `last` among them.

    Ray Train itself deletes only checkpoints that it has written since its start.
    """
    earlier = [name for name in _names(folder) if name < last]
    for name in earlier[: len(earlier) - count + 1]:
        _delete(folder / name)


def _names(folder: AnyPath) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name.removeprefix(PREFIX).isdecimal())


def _delete(folder: AnyPath) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder)
        return
    filesystem, path = folder.locate()
    filesystem.delete_dir(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
