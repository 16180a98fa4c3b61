"""Logging to MLflow; no other module does so.

Every command has one MLflow run, which `mlflow.json` in its output folder names, so that a command that is typed again after a
crash goes on in the same run.

If the outputs are on an object store and no MLflow store is configured, the store is an SQLite file beside them, `RUN/mlflow.db`. A
command downloads a copy when it starts, and uploads it when its MLflow run begins and ends; the cluster may then be taken down. If
two commands of one run folder run at the same time, the one that ends last overwrites what the other has logged. Artifacts are not
logged to such a store, since they are copies of files in the run folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from wsc_ray.errors import TrackingError
from wsc_ray.files import atomic, first_line, is_file_name, local_file, local_folder, read_json, write_json
from wsc_ray.lock import waiting_lock
from wsc_ray.places import local_path
from wsc_ray.plain_yaml import shortened
from wsc_ray.storage import AnyPath, StoragePath, as_path
from wsc_ray.uris import reason_about, shown, values_without_secrets

FILE = "mlflow.json"
STORE = "mlflow.db"
MODEL = "model"  # folder among a run's artifacts
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
        used = _read(folder)
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


class Tracker:
    """One MLflow run, new or resumed. As a context manager it ends the run as FINISHED, FAILED or KILLED.

    Args:
        uri: the store, from `tracking_uri`.
        experiment: the MLflow experiment; created if it is missing.
        folder: the command's output folder, which holds `mlflow.json`; created if it is missing.
        command: `pretrain`, `embed`, ...; it becomes a tag and part of the run's name.
        params: the parameters to log, flattened to `a.b`; each is logged once.
        parent: id of the parent's MLflow run, if this is a child run.

    Raises:
        TrackingError: the store cannot be reached or written.
    """

    def __init__(
        self,
        *,
        uri: str,
        experiment: str,
        folder: AnyPath,
        command: str,
        params: Mapping[str, Any],
        parent: str | None = None,
    ):
        self.uri, self.folder = uri, folder
        try:
            self.client, experiment_id = connect(uri, experiment)
            earlier = _read(folder)
            self.run_id = earlier["run_id"] if earlier and earlier["uri"] == shown(uri) else None
            if self.run_id is None:
                tags = {"wsc_ray.command": command, "wsc_ray.folder": shown(folder)}
                if parent:
                    tags["mlflow.parentRunId"] = parent
                name = f"{command} {folder.name}"
                self.run_id = self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
                _write_back(uri)  # first, so that the folder never names a run that the store lacks
                write_json(folder / FILE, {"uri": shown(uri), "run_id": self.run_id})
            self.client.update_run(self.run_id, status="RUNNING")
            self._log_params(params)
        except TrackingError:
            raise
        except Exception as error:
            raise _unreachable(uri, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self.client.set_terminated(self.run_id, status=status)
            _write_back(self.uri)
        except Exception as failure:
            if kind is None:  # otherwise the block's own error is what the user has to see
                raise _unreachable(self.uri, failure) from failure

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        logged = self.client.get_run(self.run_id).data.params
        new = [Param(k, v) for k, v in _flat(params) if k not in logged]
        for start in range(0, len(new), 100):  # the store's limit for one call
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def log_dataset(self, *, name: str, digest: str, source: str, context: str = "training") -> None:
        """Log a data set as the run's input, with its digest (MLflow keeps 36 characters)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not self.client.get_run(self.run_id).inputs.dataset_inputs:
            data = Dataset(
                name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": shown(source)})
            )
            self.client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step.

        Raises:
            TrackingError: the store does not take them.
        """
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        try:
            self.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])
        except Exception as error:
            raise _unreachable(self.uri, error) from error

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run, by which `search_runs` can find it.

        Raises:
            TrackingError: the store does not take them.
        """
        try:
            for key, value in tags.items():
                self.client.set_tag(self.run_id, key, value)
        except Exception as error:
            raise _unreachable(self.uri, error) from error

    def last_step(self, key: str) -> int:
        """Return the last step at which `key` was logged, -1 if it never was; a resumed run logs the steps after it.

        Raises:
            TrackingError: the store does not answer.
        """
        try:
            return max((m.step for m in self.client.get_metric_history(self.run_id, key)), default=-1)
        except Exception as error:
            raise _unreachable(self.uri, error) from error

    def log_artifact(self, path: AnyPath, folder: str | None = None) -> None:
        """Log a file, or a folder with its content, as an artifact; nothing is done if the store keeps no artifacts."""
        if _on_object_store(self.uri):
            return
        if path.is_dir():
            with local_folder(path) as local:
                self.client.log_artifacts(self.run_id, str(local), folder)
        else:
            with local_file(path) as local:
                self.client.log_artifact(self.run_id, str(local), folder)

    @property
    def keeps_artifacts(self) -> bool:
        """Whether the store keeps artifacts."""
        return not _on_object_store(self.uri)

    def register(self, model: Path, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """Log an MLflow model to the run and register it as a new version of `name`, unless the run has that version already.

        Args:
            model: a local folder, as `mlflow.pyfunc.save_model` writes it.
            tags: the version's tags; an existing version of this run with the same tags is not registered again.

        Returns:
            `name`, `version` and `uri`.

        Raises:
            TrackingError: the store does not take it.
        """
        from mlflow.exceptions import MlflowException

        try:
            with contextlib.suppress(MlflowException):  # it exists already; other errors recur below
                self.client.create_registered_model(name)
            for version in self.client.search_model_versions(f"name = '{name}'"):
                if version.run_id == self.run_id and version.tags == dict(tags):
                    break
            else:
                # A folder for each version: members that are added later must not change an earlier version.
                folder = f"{MODEL}/{hashlib.sha256(repr(sorted(tags.items())).encode()).hexdigest()[:12]}"
                self.client.log_artifacts(self.run_id, str(model), folder)
                source = f"{self.client.get_run(self.run_id).info.artifact_uri}/{folder}"
                version = self.client.create_model_version(name, source, self.run_id, tags=dict(tags))
        except Exception as error:
            raise _unreachable(self.uri, error) from error
        return {"name": name, "version": int(version.version), "uri": f"models:/{name}/{version.version}"}

    def child(self, *, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log a finished child run, once per name, so that a resumed search does not log a trial twice.

        A child run that a crash left incomplete is completed.
        """
        run = self.client.get_run(self.run_id)
        query = f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.run_name = '{name}'"
        existing = self.client.search_runs([run.info.experiment_id], query, max_results=1)
        if existing and existing[0].info.status == "FINISHED":
            return
        if existing:
            child_id = existing[0].info.run_id
        else:
            tags = {"mlflow.parentRunId": self.run_id}
            child_id = self.client.create_run(run.info.experiment_id, run_name=name, tags=tags).info.run_id
        for key, value in _flat(params):
            self.client.log_param(child_id, key, value)
        for key, value in metrics.items():
            self.client.log_metric(child_id, key, float(value))
        self.client.set_terminated(child_id)

    @property
    def ui_command(self) -> str:
        """The command that shows the store, or its address if it is a server."""
        uri = shown(self.uri)
        if _on_object_store(uri):
            return f"mlflow ui --backend-store-uri sqlite:///{STORE} (beside a copy of {uri})"
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


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
        elif _on_object_store(uri):
            place = shown(as_path(uri).parent / "mlartifacts" / _folder_of(experiment))
        try:
            return client, client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # another process created it in between
            existing = client.get_experiment_by_name(experiment)
            if existing is None:
                raise
            return client, existing.experiment_id
    except Exception as error:
        raise _unreachable(uri, error) from error


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
    return waiting_lock(path.parent / f".{path.name[:50]}.lock")


def _on_object_store(uri: str) -> bool:
    """Return whether the store is an SQLite file on an object store, and not a server, a database or a local file."""
    scheme, _, rest = uri.partition("://")
    return scheme not in ("sqlite", "http", "https", "file") and rest.partition("?")[0].endswith(f"/{STORE}")


def _opened(uri: str) -> str:
    """Return a URI that MLflow can open: for an SQLite file on an object store, that of this process's copy."""
    if not _on_object_store(uri):
        return uri
    if uri not in _copies:
        copy = Path(tempfile.mkdtemp(prefix="wsc-ray-mlflow-")) / STORE
        with contextlib.suppress(FileNotFoundError), local_file(as_path(uri)) as local:
            shutil.copyfile(local, copy)
        _copies[uri] = copy
    return f"sqlite:///{_copies[uri]}"


def _write_back(uri: str) -> None:
    """Upload this process's copy of an SQLite file on an object store."""
    if not _on_object_store(uri):
        return
    with (
        atomic(as_path(uri)) as temporary,
        contextlib.closing(sqlite3.connect(_copies[uri])) as ours,
        contextlib.closing(sqlite3.connect(temporary)) as uploaded,
    ):
        ours.backup(uploaded)


def _unreachable(uri: str, error: Exception) -> TrackingError:
    return TrackingError(f"MLflow at {shortened(shown(uri), 200)} cannot be used: {reason_about(uri, error)}")


def _read(folder: AnyPath) -> dict[str, str] | None:
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


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(values_without_secrets(value))[:6000]
