"""Which MLflow store a command uses, and how it is opened.

If the outputs are on an object store and no MLflow store is configured, the store is an SQLite file beside them, `RUN/mlflow.db`. A
command downloads a copy when it starts, and uploads it when its MLflow run begins and ends; the cluster may then be taken down. If
two commands of one run folder run at the same time, the one that ends last overwrites what the other has logged. Artifacts are not
logged to such a store, since they are copies of files in the run folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wsc_ray.errors import TrackingError
from wsc_ray.files import atomic, first_line, is_file_name, local_file, read_json
from wsc_ray.lock import waiting_lock
from wsc_ray.places import local_path
from wsc_ray.plain_yaml import shortened
from wsc_ray.storage import AnyPath, StoragePath, as_path
from wsc_ray.uris import reason_about, shown

FILE = "mlflow.json"
STORE = "mlflow.db"
SQLITE = "sqlite:///"

_copies: dict[str, Path] = {}  # this process's copies of SQLite files on object stores, by URI


def tracking_uri(configured: str | None, *folders: AnyPath) -> str:
    """Return the URI of the MLflow store.

    It is the recipe's, or else $MLFLOW_TRACKING_URI, or else the store that one of the folders used before, or else an SQLite file
    `mlflow.db`: beside the outputs if these are on an object store, and otherwise in the current folder.

    Args:
        configured: the recipe's `tracking.uri`.
        folders: the command's output folder first, the run folder last.

    Raises:
        TrackingError: the store would be in the current folder, whose path cannot be part of a store's URI.
    """
    if configured or os.environ.get("MLFLOW_TRACKING_URI"):
        return configured or os.environ["MLFLOW_TRACKING_URI"]
    for folder in folders:
        used = read_link(folder)
        if used:
            return used["uri"]
    if folders and isinstance(folders[-1], StoragePath):
        return shown(folders[-1] / STORE)
    path = Path(STORE).absolute()
    # In a URI `?` and `%` have a meaning: SQLAlchemy would read another path.
    if "?" in str(path) or unquote(str(path)) != str(path):
        raise TrackingError(
            f"{path}: an MLflow store cannot be in a folder with `?` or `%` in its name; set tracking.uri or MLFLOW_TRACKING_URI, or work "
            "in another folder"
        )
    return f"sqlite:///{path}"


def connect(uri: str, experiment: str) -> tuple[Any, str]:
    """Return an `MlflowClient` and the id of `experiment`, which is created if it is missing.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    # MLflow's defaults retry for minutes; a missing store should be reported at once.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # At a run's end MLflow would print the run's address, with the user and password of the store's URI.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        if uri.startswith(SQLITE):  # raises for a name that no file can have; MLflow would try for minutes to open it
            local_path(uri.removeprefix(SQLITE).partition("?")[0])
        with _lock_beside(uri):
            client = MlflowClient(tracking_uri=_opened(uri))
            existing = client.get_experiment_by_name(experiment)
        if existing is not None:
            return client, existing.experiment_id
        place = None
        if uri.startswith(SQLITE):  # artifacts beside the database, and not in the current folder
            place = (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts" / _folder_of(experiment)).as_uri()
        elif on_object_store(uri):
            place = shown(as_path(uri).parent / "mlartifacts" / _folder_of(experiment))
        try:
            return client, client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # another process created it in between
            existing = client.get_experiment_by_name(experiment)
            if existing is None:
                raise
            return client, existing.experiment_id
    except Exception as error:
        raise unreachable(uri, error) from error


def _folder_of(experiment: str) -> str:
    """Return the folder name of an experiment's artifacts below `mlartifacts`: the experiment's name, or a safe form of it."""
    if is_file_name(experiment):
        return experiment
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-")[:50]
    return f"{safe or 'experiment'}-{hashlib.sha256(experiment.encode()).hexdigest()[:12]}"


def _lock_beside(uri: str) -> contextlib.AbstractContextManager[None]:
    """Return a lock beside an SQLite store: its first user creates the tables, which fails if two do so at once."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not uri.startswith(SQLITE) or path.name in ("", ":memory:"):
        return contextlib.nullcontext()
    with contextlib.suppress(OSError):  # of which MLflow gives the reason
        path.parent.mkdir(parents=True, exist_ok=True)  # MLflow would make it after the lock, which needs it
    return waiting_lock(path.parent / f".{path.name[:50]}.lock")


def on_object_store(uri: str) -> bool:
    """Return whether the store is an SQLite file on an object store, and not a server, a database or a local file."""
    scheme, _, rest = uri.partition("://")
    return scheme not in ("sqlite", "http", "https", "file") and rest.partition("?")[0].endswith(f"/{STORE}")


def _opened(uri: str) -> str:
    """Return a URI that MLflow can open: for an SQLite file on an object store, that of this process's copy."""
    if not on_object_store(uri):
        return uri
    if uri not in _copies:
        copy = Path(tempfile.mkdtemp(prefix="wsc-ray-mlflow-")) / STORE
        with contextlib.suppress(FileNotFoundError), local_file(as_path(uri)) as local:
            shutil.copyfile(local, copy)
        _copies[uri] = copy
    return f"sqlite:///{_copies[uri]}"


def write_back(uri: str) -> None:
    """Upload this process's copy of an SQLite file on an object store."""
    if not on_object_store(uri):
        return
    with (
        atomic(as_path(uri)) as temporary,
        contextlib.closing(sqlite3.connect(_copies[uri])) as ours,
        contextlib.closing(sqlite3.connect(temporary)) as uploaded,
    ):
        ours.backup(uploaded)


def unreachable(uri: str, error: Exception) -> TrackingError:
    return TrackingError(f"MLflow at {shortened(shown(uri), 200)} cannot be used: {reason_about(uri, error)}")


def read_link(folder: AnyPath) -> dict[str, str] | None:
    """Return `uri` and `run_id` from `mlflow.json` of a command's output folder; None if there is no such file.

    Raises:
        TrackingError: the file is damaged.
    """
    try:
        values = read_json(folder / FILE)
        if not all(isinstance(values[name], str) for name in ("uri", "run_id")):
            raise ValueError("it names no MLflow run")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise TrackingError(
            f"{folder / FILE} cannot be read: {first_line(error)}; delete it, and the same command goes on in a new MLflow run"
        ) from None
    return values
