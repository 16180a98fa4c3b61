"""Logging to MLflow; no other module does so.

Every command has one MLflow run, which `mlflow.json` in its output folder names, so that a command that is typed again after a
crash goes on in the same run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wsc_ray.errors import TrackingError
from wsc_ray.files import local_file, local_folder, write_json
from wsc_ray.run_folder import IDENTITY
from wsc_ray.storage import AnyPath
from wsc_ray.tracking_store import FILE, STORE, connect, on_object_store, read_link, unreachable, write_back
from wsc_ray.uris import shown, values_without_secrets

MODEL = "model"  # folder among a run's artifacts
_USUAL = {"embed": "features", "tune": "mil"}  # names of output folders in a run folder; the others' are the commands'


class _Client:
    """An `MlflowClient` of which every call raises a `TrackingError`, whose sentence has no password, where the store fails."""

    def __init__(self, client: Any, uri: str):
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            except Exception as error:
                raise unreachable(self._uri, error) from error

        return call


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
            client, experiment_id = connect(uri, experiment)
            self.client: Any = _Client(client, uri)
            earlier = read_link(folder)
            self.run_id = earlier["run_id"] if earlier and earlier["uri"] == shown(uri) else None
            if self.run_id is None:
                source = {"mlflow.source.name": f"wsc-ray {command}", "mlflow.source.type": "LOCAL"}
                tags = {**source, "wsc_ray.command": command, "wsc_ray.folder": shown(folder)}
                if parent:
                    tags["mlflow.parentRunId"] = parent
                name = run_name(command, folder)
                self.run_id = self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
                write_back(uri)  # first, so that the folder never names a run that the store lacks
                write_json(folder / FILE, {"uri": shown(uri), "run_id": self.run_id})
            self.client.update_run(self.run_id, status="RUNNING")
            self._log_params(params)
        except TrackingError:
            raise
        except Exception as error:
            raise unreachable(uri, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self.client.set_terminated(self.run_id, status=status)
            write_back(self.uri)
        except TrackingError:
            if kind is None:  # otherwise the block's own error is what the user has to see
                raise
        except Exception as failure:
            if kind is None:
                raise unreachable(self.uri, failure) from failure

    def _log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        logged = self.client.get_run(self.run_id).data.params
        new = [Param(k, v) for k, v in _flat(params) if k not in logged]
        for start in range(0, len(new), 100):  # the store's limit for one call
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def log_dataset(self, *, name: str, digest: str, source: str, context: str = "training") -> None:
        """Log a data set as the run's input, with its digest (MLflow keeps 36 characters).

        Raises:
            TrackingError: the store does not take it.
        """
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
        self.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Log the values at a command's end, without those that the run has: an attempt may have been killed after it logged them.

        Raises:
            TrackingError: the store does not take them.
        """
        there = self.client.get_run(self.run_id).data.metrics
        new = {key: value for key, value in metrics.items() if there.get(key) != float(value)}
        if new:
            self.log_metrics(new)

    def log_embedded(self, patches: int, seconds: float) -> None:
        """Log the number of embedded patches, the time and the rate.

        An attempt that found no patch left to embed logs nothing, if the run has these metrics from an attempt that was killed later.

        Raises:
            TrackingError: the store does not take them.
        """
        if patches or self.last_step("patches") < 0:
            self.log_metrics({"patches": patches, "seconds": seconds, "patches_per_second": patches / seconds})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run, by which `search_runs` can find it.

        Raises:
            TrackingError: the store does not take them.
        """
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def last_step(self, key: str) -> int:
        """Return the last step at which `key` was logged, -1 if it never was; a resumed run logs the steps after it.

        Raises:
            TrackingError: the store does not answer.
        """
        return max((m.step for m in self.client.get_metric_history(self.run_id, key)), default=-1)

    def log_artifact(self, path: AnyPath, folder: str | None = None) -> None:
        """Log a file, or a folder with its content, as an artifact; nothing is done if the store keeps no artifacts.

        Raises:
            TrackingError: the store does not take it.
        """
        if not self.keeps_artifacts:
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
        return not on_object_store(self.uri)

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
        with contextlib.suppress(TrackingError):  # it exists already; other errors recur below
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
        return {"name": name, "version": int(version.version), "uri": f"models:/{name}/{version.version}"}

    def child(self, *, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log a finished child run, once per name, so that a resumed search does not log a trial twice.

        A child run that a crash left incomplete is completed.

        Raises:
            TrackingError: the store does not take it.
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
        there = existing[0].data.metrics if existing else {}
        for key, value in metrics.items():
            if key not in there:
                self.client.log_metric(child_id, key, float(value))
        self.client.set_terminated(child_id)

    @property
    def ui_command(self) -> str:
        """The command that shows the store, or its address if it is a server."""
        uri = shown(self.uri)
        if on_object_store(uri):
            return f"mlflow ui --backend-store-uri sqlite:///{STORE} (beside a copy of {uri})"
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def run_name(command: str, folder: AnyPath) -> str:
    """Return the name of a command's run, which says what it is in a list of many: `tune camelyon16` for the folder camelyon16/mil.

    Args:
        folder: the command's output folder; it is named with the folder of wsc-ray that it lies in, if there is one.
    """
    if not (folder.parent / IDENTITY).is_file():
        return command if folder.name == command else f"{command} {folder.name}"
    usual = folder.name == _USUAL.get(command, command)
    return f"{command} {folder.parent.name}" + ("" if usual else f"/{folder.name}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(values_without_secrets(value))[:6000]
