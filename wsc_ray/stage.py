"""What every command does around its work: run and recipe, output folder, what lies in it, MLflow, summary.

A command resolves its folders, claims the one that it writes, compares what it is about to do with what lies there, says its
plan, and stops there on a dry run. Then it carries out its work: identity first, so that the folder is known as its own from
the first byte on, then an MLflow run around the work, and the summary last, which says that the work is complete.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wsc_ray
from wsc_ray.errors import RecipeError, RunFolderError
from wsc_ray.files import first_line, is_ignored, read_json, write_json, write_summary
from wsc_ray.lock import locked
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, OLDER_IDENTITIES, RunFolder
from wsc_ray.storage import AnyPath, as_path, check_store
from wsc_ray.tracking import FILE as MLFLOW
from wsc_ray.tracking import Tracker, connect, tracking_uri
from wsc_ray.uris import values_without_secrets

_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_DIGEST = re.compile(r"[0-9a-f]{64}")


def resolve_run(
    run: str | Path | None, recipe: str | Path | Recipe | None, overrides: Sequence[str]
) -> tuple[RunFolder | None, Recipe]:
    """The run folder, if one is named, and the recipe: the one given, else the run's own.

    Raises:
        RunFolderError: `run` is no run folder.
        RecipeError: the recipe is wrong.
    """
    folder = RunFolder(run) if run is not None else None
    if folder is not None:
        check_store(folder.path)
        folder.read_info()
    if not isinstance(recipe, Recipe):
        own = folder.checked_recipe() if recipe is None and folder else None
        recipe = load_recipe(recipe if recipe is not None else own, overrides)
    return folder, recipe


def resolve_paths(command: str, **options: tuple[str | AnyPath | None, AnyPath | None]) -> list[AnyPath]:
    """The folder that each option names, else its place in the run folder.

    Args:
        options: by name, what was given and the default.

    Raises:
        RecipeError: options that have neither, all of them listed.
    """
    paths = {name: default if given is None else as_path(given) for name, (given, default) in options.items()}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise RecipeError(command, [f"--{name}: missing; give it or --run" for name in missing])
    return [path for path in paths.values() if path is not None]


def claim_folder(command: str, out: AnyPath, *, own: Iterable[str] = ()) -> dict[str, Any] | None:
    """Refuse a folder that holds anything else than this command's work, so that nothing of anybody's is overwritten.

    Args:
        own: names that the command may leave before its identity.

    Returns:
        The identity of what lies there, or None where the folder is new or empty.

    Raises:
        RunFolderError: it is a file, a bucket that cannot be used, or holds something else.
    """
    check_store(out)
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; give a folder that is new, or one to go on with")
    if not out.is_dir():
        return None
    allowed = {*own, MLFLOW}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in allowed and not is_ignored(path.name))
    if not foreign:
        return None
    known = read_identity(out, command)
    if known is None:
        raise RunFolderError(
            f"{out} is taken: it holds {', '.join(foreign[:3])} and nothing of `wsc-ray {command}`; give a folder that is new, or "
            "one to go on with"
        )
    if known.get("command", command) != command:
        raise RunFolderError(f"{out} holds what `wsc-ray {known['command']}` wrote; give another --out")
    return known


def read_identity(out: AnyPath, command: str) -> dict[str, Any] | None:
    """The identity of the work of a command in a folder, also as it was called before; None where there is none.

    Raises:
        RunFolderError: there is a file of that name which cannot be read.
    """
    for name in (IDENTITY, OLDER_IDENTITIES.get(command)):
        if name is None or not (out / name).is_file():
            continue
        if not name.endswith(".json"):
            return {}  # a result that said whose the folder was
        try:
            return read_json(out / name)
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{out / name} cannot be read: {first_line(error)}; give a new --out, or delete {out}"
            ) from None
    return None


def refuse_other(
    out: AnyPath,
    what: str,
    known: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    words: Mapping[str, str] | None = None,
    way_out: str = "delete it",
) -> None:
    """Compare what lies in a folder with what a command is about to do.

    Args:
        what: lies there, such as `a run` or `features`.
        words: for keys whose values say nothing to people, a sentence about their difference.
        way_out: what else one may do than give another --out.

    Raises:
        RunFolderError: they differ; every difference is listed.
    """
    identity = values_without_secrets(identity)
    lines = differences(values_without_secrets({key: known.get(key) for key in identity}), identity, words=words)
    if lines:
        raise RunFolderError(
            f"{out} holds {what} of other settings; give a new --out, {way_out}, or undo:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "", *, words: Mapping[str, str] | None = None
) -> list[str]:
    """Where two dictionaries differ, a line a key: what is there and what is here."""
    found = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if words and prefix + key in words:
            found.append(words[prefix + key])
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.", words=words)
        else:
            found.append(f"`{prefix}{key}`: {_short(old)} there, {_short(new)} here")
    return found


@dataclass(frozen=True)
class Store:
    """An MLflow store that answers, and the experiment to log to."""

    uri: str
    experiment: str


def open_store(configured: str | None, experiment: str, *folders: AnyPath) -> Store:
    """The store for a command's MLflow run, asked before anything is written.

    Args:
        configured: the recipe's `tracking.uri`.
        folders: that may remember a store, the command's output first; see `tracking_uri`.

    Raises:
        TrackingError: it cannot be reached or written.
    """
    uri = tracking_uri(configured, *folders)
    connect(uri, experiment)
    return Store(uri, experiment)


def carry_out(
    command: str,
    *,
    out: AnyPath,
    identity: Mapping[str, Any],
    plan: Mapping[str, Any],
    params: Mapping[str, Any],
    store: Store,
    work: Callable[[Tracker], Mapping[str, Any]],
) -> dict[str, Any]:
    """Do a command's work in its folder, inside its MLflow run, while no other command works there.

    Args:
        identity: of the work; what lies in the folder is compared with it the next time.
        plan: goes into the summary, before what the work returns.
        params: for MLflow.
        work: called with the tracker; returns what it adds to the summary.

    Returns:
        The summary, as it is written.

    Raises:
        RunFolderError: another command works in the folder, or it cannot be written: a full disk, a read-only mount.
    """
    started = time.time()
    with _told(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, command):
            write_identity(out, command, identity)
            with Tracker(
                uri=store.uri, experiment=store.experiment, folder=out, command=command, params=params
            ) as tracker:
                values = work(tracker)
            # The summary says that all is done, and so does MLflow by now.
            seconds = {"seconds": round(time.time() - started, 1)}
            mlflow = {"mlflow": {"run_id": tracker.run_id, "look": tracker.ui_command}}
            return write_summary(out, command, {**plan, **values, **seconds, **mlflow})


def write_identity(out: AnyPath, command: str, identity: Mapping[str, Any]) -> None:
    """Say whose a folder is, and what work it holds.

    Raises:
        RunFolderError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        values = {"command": command, "wsc_ray": wsc_ray.__version__, **values_without_secrets(identity)}
        write_json(out / IDENTITY, values)
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _told(out: AnyPath) -> Iterator[None]:
    """What a disk refuses, in a sentence; every other error of the system is ours and keeps its traceback."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        place = error.filename or out
        raise RunFolderError(
            f"{place} cannot be used: {error.strerror}; the same command goes on once that is mended"
        ) from error


def _short(value: Any) -> Any:
    """A digest by its beginning."""
    return value[:12] if isinstance(value, str) and _DIGEST.fullmatch(value) else value
