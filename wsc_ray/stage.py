"""The steps that every command takes around its work: run and recipe, output folder, identity, MLflow, summary.

A command resolves its folders, claims its output folder, compares its identity with the one in that folder, makes its
plan, and stops there on a dry run. Then it carries out its work: it writes its identity first, so that the folder is
known as its own from the first byte on, opens an MLflow run around the work, and writes the summary last, which shows
that the work is complete.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wsc_ray
from wsc_ray.disk import explained
from wsc_ray.errors import RecipeError, RunFolderError
from wsc_ray.files import delete_left_parts, first_line, is_ignored, read_json, write_json, write_summary
from wsc_ray.lock import LOCK, locked
from wsc_ray.recipe.reading import load_recipe
from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import IDENTITY, OLDER_IDENTITIES, RunFolder
from wsc_ray.storage import AnyPath, as_path, check_store
from wsc_ray.tracking import Tracker
from wsc_ray.tracking_store import FILE as MLFLOW
from wsc_ray.tracking_store import connect, tracking_uri
from wsc_ray.uris import values_without_secrets

_DIGEST = re.compile(r"[0-9a-f]{64}")


def resolve_run(
    run: str | Path | None, recipe: str | Path | Recipe | None, overrides: Sequence[str]
) -> tuple[RunFolder | None, Recipe]:
    """Return the run folder, if one is named, and the recipe: `recipe`, else the run's own.

    Raises:
        RunFolderError: `run` is not a run folder.
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
    """Return the folder that each option names, else its default in the run folder.

    Args:
        options: name of the option -> its value (None: not set) and its default.

    Raises:
        RecipeError: some options have neither; all of them are listed.
    """
    paths = {name: default if value is None else as_path(value) for name, (value, default) in options.items()}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise RecipeError(command, [f"--{name}: missing; give it or --run" for name in missing])
    return [path for path in paths.values() if path is not None]


def claim_folder(command: str, out: AnyPath, *, own: Iterable[str] = ()) -> dict[str, Any] | None:
    """Check that a folder is new, empty, or holds work of this command, so that nobody's files are overwritten.

    Args:
        own: names of files that the command may write before its identity.

    Returns:
        The identity of the work in the folder, or None where the folder is new or empty.

    Raises:
        RunFolderError: `out` is a file or in a bucket that cannot be used, or holds something else.
    """
    check_store(out)
    _refuse_file(out)
    if not out.is_dir():
        return None
    allowed = {*own, MLFLOW}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in allowed and not is_ignored(path.name))
    if not foreign:
        return None
    identity = read_identity(out, command)
    if identity is None:
        raise RunFolderError(
            f"{out} is taken: it holds {', '.join(foreign[:3])} and nothing of `wsc-ray {command}`; give a new folder, or one to "
            "go on with"
        )
    if identity.get("command", command) != command:
        raise RunFolderError(f"{out} holds what `wsc-ray {identity['command']}` wrote; give another --out")
    return identity


def _refuse_file(out: AnyPath) -> None:
    """Check that nothing but a folder has the path of a folder, or of one above it.

    Raises:
        RunFolderError: a file or a broken link has.
    """
    if not isinstance(out, Path):
        there = out if out.exists() else None
    else:
        there = next(each for each in (out, *out.parents) if os.path.lexists(each))
    if there is None or there.is_dir():
        return
    if there == out:
        raise RunFolderError(f"{out} is a file; give a new folder, or one to go on with")
    raise RunFolderError(f"{out} cannot be made, since {there} is no folder; give another --out")


def read_identity(out: AnyPath, command: str) -> dict[str, Any] | None:
    """Return the identity of a command's work in a folder, also under an older file name; None where there is none.

    Raises:
        RunFolderError: the file cannot be read.
    """
    for name in (IDENTITY, OLDER_IDENTITIES.get(command)):
        if name is None or not (out / name).is_file():
            continue
        if not name.endswith(".json"):
            return {}  # in older versions, a result that showed which command had written the folder
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
    earlier: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    words: Mapping[str, str] | None = None,
    way_out: str = "delete it",
) -> None:
    """Check that the identity of the work in a folder is that of the work which a command is about to do.

    Args:
        what: the work in the folder, such as `a run` or `features`.
        earlier: the identity in the folder.
        words: for keys whose values mean nothing to people, a sentence about their difference.
        way_out: what the user may do besides giving another --out.

    Raises:
        RunFolderError: the identities differ; every difference is listed.
    """
    identity = values_without_secrets(identity)
    lines = differences(values_without_secrets({key: earlier.get(key) for key in identity}), identity, words=words)
    if lines:
        raise RunFolderError(
            f"{out} holds {what} with other settings; give a new --out, {way_out}, or undo:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "", *, words: Mapping[str, str] | None = None
) -> list[str]:
    """Return a line for each key in which two dictionaries differ, with the value there (before) and here (now)."""
    lines = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if words and prefix + key in words:
            lines.append(words[prefix + key])
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.", words=words)
        else:
            lines.append(f"`{prefix}{key}`: {_short(old)} there, {_short(new)} here")
    return lines


@dataclass(frozen=True)
class Store:
    """An MLflow store that answers, and the experiment to log to."""

    uri: str
    experiment: str


def open_store(configured: str | None, experiment: str, *folders: AnyPath) -> Store:
    """Return the store for a command's MLflow run, after checking that it answers.

    Args:
        configured: the recipe's `tracking.uri`.
        folders: folders that may remember a store, the command's output first; see `tracking_uri`.

    Raises:
        TrackingError: the store cannot be reached or written.
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
        identity: identity of the work, which the next command in the folder compares with its own.
        plan: values that the summary begins with.
        params: parameters for MLflow.
        work: called with the tracker; returns further values of the summary.

    Returns:
        The values of `summary.json`.

    Raises:
        RunFolderError: another command works in the folder, or it cannot be written: a full disk, a read-only mount.
    """
    started = time.time()
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, command):
            delete_left_parts(out, hold=LOCK)
            write_identity(out, command, identity)
            with Tracker(
                uri=store.uri, experiment=store.experiment, folder=out, command=command, params=params
            ) as tracker:
                values = work(tracker)
            # The summary comes last: it shows that everything is complete, also in MLflow.
            seconds = {"seconds": round(time.time() - started, 1)}
            mlflow = {"mlflow": {"run_id": tracker.run_id, "look": tracker.ui_command}}
            return write_summary(out, command, {**plan, **values, **seconds, **mlflow})


def write_identity(out: AnyPath, command: str, identity: Mapping[str, Any]) -> None:
    """Write which command a folder belongs to, and the identity of its work.

    Raises:
        RunFolderError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        values = {"command": command, "wsc_ray": wsc_ray.__version__, **values_without_secrets(identity)}
        write_json(out / IDENTITY, values)
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or error}") from None


def _short(value: Any) -> Any:
    """Return the beginning of a digest, and any other value unchanged."""
    return value[:12] if isinstance(value, str) and _DIGEST.fullmatch(value) else value
