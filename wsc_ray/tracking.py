"""MLflow: the only module that talks to it.

Every command has one run, remembered in `mlflow.json` of its output folder, so that a command typed again after a
crash goes on in the same run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wsc_ray.errors import TrackingError
from wsc_ray.files import write_json
from wsc_ray.storage import shown

FILE = "mlflow.json"


def tracking_uri(configured: str | None, *folders: Path) -> str:
    """The MLflow store: the recipe's, else $MLFLOW_TRACKING_URI, else the one that a folder of this run used, else
    `mlflow.db` (SQLite) in the current folder."""
    if configured or os.environ.get("MLFLOW_TRACKING_URI"):
        return configured or os.environ["MLFLOW_TRACKING_URI"]
    for folder in folders:
        known = _read(folder)
        if known:
            return known["uri"]
    return f"sqlite:///{Path('mlflow.db').absolute()}"


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
        folder: Path,
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
                tags = {"wsc_ray.command": command, "wsc_ray.folder": str(folder)}
                if parent:
                    tags["mlflow.parentRunId"] = parent
                name = f"{command} {folder.name}"
                self.run_id = self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
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
            data = Dataset(name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": source}))
            self.client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def last_step(self, key: str) -> int:
        """The last step at which `key` was logged, -1 where it never was: a resumed run logs what comes after."""
        return max((m.step for m in self.client.get_metric_history(self.run_id, key)), default=-1)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or a folder with what is in it."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(self.run_id, str(path), folder)

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
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"


def connect(uri: str, experiment: str) -> tuple[Any, str]:
    """An `MlflowClient` and the id of `experiment`, made where it is missing.

    Raises:
        TrackingError: the store cannot be reached or written.
    """
    # MLflow's defaults retry for minutes; a store that is not there should be said at once.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        place = None
        if uri.startswith("sqlite:///"):  # artifacts beside the database, not in whatever folder one stands
            place = (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts" / experiment).as_uri()
        try:
            return client, client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # made by someone else in between
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise
            return client, found.experiment_id
    except Exception as error:
        raise _unreachable(uri, error) from error


def _unreachable(uri: str, error: Exception) -> TrackingError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    reason = reason.replace(uri, shown(uri))
    return TrackingError(f"MLflow at {shown(uri)} cannot be used: {reason}")


def _read(folder: Path) -> dict[str, str] | None:
    try:
        return json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)[:6000]
