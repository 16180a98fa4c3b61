"""Which checkpoint a command goes on from: the newest that is whole and undamaged.

Ray Train notes in the folder which checkpoints it has, and takes the newest up unseen. A command that is typed again looks for
itself, and then clears Ray Train's notes away, so that a damaged checkpoint (or damaged notes, or those of another version of Ray) is
passed over. Workers that are replaced while the command runs get their checkpoint from Ray Train.
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
    """The name of the newest undamaged checkpoint; None where there is none. Each damaged one is warned of on stderr.

    Args:
        folder: of a run's checkpoints; may be missing.
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
    """Take away what Ray Train has noted about the checkpoints in a folder, JSON files beside them."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)


def keep_newest(folder: AnyPath, last: str, count: int) -> None:
    """Delete checkpoints before `last`, so that `count` are left with it: Ray Train deletes only those of its own time."""
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
    files, place = folder.locate()
    files.delete_dir(place)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
