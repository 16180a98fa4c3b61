"""MLflow: the only module that talks to it.

Every command has one run, remembered in `mlflow.json` of its output folder, so that a command typed again after a
crash goes on in the same run.

Where outputs lie on an object store and no MLflow store is configured, the store is an SQLite file beside them,
`RUN/mlflow.db`: a command takes a copy when it starts and writes it back when its run begins and ends. A cluster may
vanish after that. Two commands of one run that run at the same time lose what the first to end has logged. Artifacts,
which are copies of files in the run folder, are left out of such a store.
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
MODEL = "model"  # folder of a run's artifacts
SQLITE = "sqlite:///"

_copies: dict[str, Path] = {}  # by URI, of SQLite files on object stores: this process's copy


def tracking_uri(configured: str | None, *folders: AnyPath) -> str:
    """The MLflow store: the recipe's, else $MLFLOW_TRACKING_URI, else the one that a folder of this run used, else
    `mlflow.db` (SQLite): beside the outputs where these lie on an object store, otherwise in the current folder.

    Args:
        folders: the command's output folder first, the run folder last.

    Raises:
        TrackingError: it would be in the current folder, whose path no store can have.
    """
    if configured or os.environ.get("MLFLOW_TRACKING_URI"):
        return configured or os.environ["MLFLOW_TRACKING_URI"]
    for folder in folders:
        known = _read(folder)
        if known:
            return known["uri"]
    if folders and isinstance(folders[-1], StoragePath):
        return shown(folders[-1] / STORE)
    path = Path(STORE).absolute()
    if "?" in str(path) or unquote(str(path)) != str(
        path
    ):  # parts of a URI's own: SQLAlchemy would make another path of them
        raise TrackingError(
            f"{path}: an MLflow store cannot lie in a folder with `?` or `%` in its name; set tracking.uri or MLFLOW_TRACKING_URI, or work "
            "in another folder"
        )
    return f"sqlite:///{path}"


class Tracker:
    """One MLflow run, opened or gone on with. Use as a context manager: it ends as FINISHED, FAILED or KILLED.

    Args:
        uri: from `tracking_uri`.
        experiment: MLflow experiment; made where it is missing.
        folder: the command's output folder, where `mlflow.json` is kept; created.
        command: `pretrain`, `embed`, ...; a tag, and part of the run's name.
        params: logged once, flattened to `a.b`.
        parent: MLflow run id of which this is a child.

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
            known = _read(folder)
            self.run_id = known["run_id"] if known and known["uri"] == shown(uri) else None
            if self.run_id is None:
                tags = {"wsc_ray.command": command, "wsc_ray.folder": shown(folder)}
                if parent:
                    tags["mlflow.parentRunId"] = parent
                name = f"{command} {folder.name}"
                self.run_id = self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
                _write_back(uri)  # before the folder names a run that the store does not have
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
            if kind is None:  # else what ended the block is what the user has to see
                raise _unreachable(self.uri, failure) from failure

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, v) for k, v in _flat(params) if k not in known]
        for start in range(0, len(new), 100):  # the store's limit for one call
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def log_dataset(self, *, name: str, digest: str, source: str, context: str = "training") -> None:
        """Note the manifest as the run's input, by its digest (MLflow keeps 36 characters of it)."""
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
        """Set tags of the run, which `search_runs` finds it by.

        Raises:
            TrackingError: the store does not take them.
        """
        try:
            for key, value in tags.items():
                self.client.set_tag(self.run_id, key, value)
        except Exception as error:
            raise _unreachable(self.uri, error) from error

    def last_step(self, key: str) -> int:
        """The last step at which `key` was logged, -1 where it never was: a resumed run logs what comes after.

        Raises:
            TrackingError: the store does not answer.
        """
        try:
            return max((m.step for m in self.client.get_metric_history(self.run_id, key)), default=-1)
        except Exception as error:
            raise _unreachable(self.uri, error) from error

    def log_artifact(self, path: AnyPath, folder: str | None = None) -> None:
        """Store a file, or a folder with what is in it."""
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
        """Whether the store keeps files."""
        return not _on_object_store(self.uri)

    def register(self, model: Path, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """Store an MLflow model with the run and register it as a new version of `name`, unless the run has such a version.

        Args:
            model: a local folder, as `mlflow.pyfunc.save_model` writes it.
            tags: of the version; one with the same tags is the same.

        Returns:
            `name`, `version` and `uri`.

        Raises:
            TrackingError: the store does not take it.
        """
        from mlflow.exceptions import MlflowException

        try:
            with contextlib.suppress(MlflowException):  # it is there already; what else is wrong comes up below
                self.client.create_registered_model(name)
            for version in self.client.search_model_versions(f"name = '{name}'"):
                if version.run_id == self.run_id and version.tags == dict(tags):
                    break
            else:
                # A folder for each version: members that come later must not change an earlier one.
                folder = f"{MODEL}/{hashlib.sha256(repr(sorted(tags.items())).encode()).hexdigest()[:12]}"
                self.client.log_artifacts(self.run_id, str(model), folder)
                source = f"{self.client.get_run(self.run_id).info.artifact_uri}/{folder}"
                version = self.client.create_model_version(name, source, self.run_id, tags=dict(tags))
        except Exception as error:
            raise _unreachable(self.uri, error) from error
        return {"name": name, "version": int(version.version), "uri": f"models:/{name}/{version.version}"}

    def child(self, *, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """A finished child run, once by name: a search that goes on does not log a trial twice.

        One that a crash left half-logged is filled up.
        """
        run = self.client.get_run(self.run_id)
        query = f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.run_name = '{name}'"
        found = self.client.search_runs([run.info.experiment_id], query, max_results=1)
        if found and found[0].info.status == "FINISHED":
            return
        if found:
            made = found[0].info.run_id
        else:
            tags = {"mlflow.parentRunId": self.run_id}
            made = self.client.create_run(run.info.experiment_id, run_name=name, tags=tags).info.run_id
        for key, value in _flat(params):
            self.client.log_param(made, key, value)
        for key, value in metrics.items():
            self.client.log_metric(made, key, float(value))
        self.client.set_terminated(made)

    @property
    def ui_command(self) -> str:
        """What to type to look at the store."""
        uri = shown(self.uri)
        if _on_object_store(uri):
            return f"mlflow ui --backend-store-uri sqlite:///{STORE} (beside a copy of {uri})"
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def connect(uri: str, experiment: str) -> tuple[Any, str]:
    """An `MlflowClient` and the id of `experiment`, made where it is missing.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    # MLflow's defaults retry for minutes; a store that is not there should be said at once.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # MLflow would print where a run is seen when it ends, with the user and password of the store's URI.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        if uri.startswith(SQLITE):  # MLflow tries for minutes to open what no file can be called
            local_path(uri.removeprefix(SQLITE).partition("?")[0])
        with _lock_beside(uri):
            client = MlflowClient(tracking_uri=_opened(uri))
            found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        place = None
        if uri.startswith(SQLITE):  # artifacts beside the database, not in whatever folder one stands
            place = (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts" / _folder_of(experiment)).as_uri()
        elif _on_object_store(uri):
            place = shown(as_path(uri).parent / "mlartifacts" / _folder_of(experiment))
        try:
            return client, client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # made by someone else in between
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise
            return client, found.experiment_id
    except Exception as error:
        raise _unreachable(uri, error) from error


def _folder_of(experiment: str) -> str:
    """Where an experiment's artifacts lie below `mlartifacts`: its name, or what is safe of it, and never outside."""
    if is_file_name(experiment):
        return experiment
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-")[:50]
    return f"{safe or 'experiment'}-{hashlib.sha256(experiment.encode()).hexdigest()[:12]}"


def _lock_beside(uri: str) -> contextlib.AbstractContextManager[None]:
    """A lock beside an SQLite store: its first user makes its tables, which fails where two do it at once."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if not uri.startswith(SQLITE) or path.name in ("", ":memory:"):
        return contextlib.nullcontext()
    return waiting_lock(path.parent / f".{path.name[:50]}.lock")


def _on_object_store(uri: str) -> bool:
    """Whether the store is an SQLite file on an object store, and not a server, a database or a local file."""
    scheme, _, rest = uri.partition("://")
    return scheme not in ("sqlite", "http", "https", "file") and rest.partition("?")[0].endswith(f"/{STORE}")


def _opened(uri: str) -> str:
    """The URI of a store that MLflow can open: of the copy that is made of an SQLite file on an object store."""
    if not _on_object_store(uri):
        return uri
    if uri not in _copies:
        copy = Path(tempfile.mkdtemp(prefix="wsc-ray-mlflow-")) / STORE
        with contextlib.suppress(FileNotFoundError), local_file(as_path(uri)) as known:
            shutil.copyfile(known, copy)
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
    """The store and the run of a command's output folder; None where it has none yet.

    Raises:
        TrackingError: the file that says them is damaged.
    """
    try:
        known = read_json(folder / FILE)
        if not all(isinstance(known[name], str) for name in ("uri", "run_id")):
            raise ValueError("it holds no run of MLflow")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise TrackingError(
            f"{folder / FILE} cannot be read: {first_line(error)}; delete it, and the same command goes on in a new MLflow run"
        ) from None
    return known


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(values_without_secrets(value))[:6000]
