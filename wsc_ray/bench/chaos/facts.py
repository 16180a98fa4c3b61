"""The content of a folder of results, in a form that is equal for two runs of the same commands."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Times, rates, checksums over them, and what was there when a command was repeated; everything else in the files must be equal.
_VARIES = {
    "wsc_ray_sha256",
    "crc32",
    "seconds",
    "patches_per_second",
    "data_wait_fraction",
    "mlflow",
    "run_id",
    "slides_there",
    "patches_there",
    "patches_embedded",
    "trials_there",
    "started",
    "ended",
    "when",
    "looked_at",
}
# Files of Ray Train and MLflow, or of a running process.
_NOT_OURS = {"checkpoint_manager_snapshot.json", ".validate_storage_marker", ".lock", "mlflow.db", ".mlflow.db.lock"}
_FOLDERS_NOT_OURS = {"mlartifacts"}


def folder_facts(folder: Path) -> dict[str, str]:
    """Return every file's name with a digest of its content, without times, rates and the folder's path."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and path.name not in _NOT_OURS and not _FOLDERS_NOT_OURS & set(name.parts):
            digests[str(name)] = _digest(path, str(folder))
    return digests


def store_facts(store: Path) -> dict[str, Any]:
    """Return for every run of an MLflow store its status, and for each metric the numbers of steps and of values."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    runs: dict[str, Any] = {}
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for run in client.search_runs(experiments, max_results=1000):
        steps = {
            key: [metric.step for metric in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics
        }
        counted = {key: {"steps": len(set(logged)), "values": len(logged)} for key, logged in sorted(steps.items())}
        name = str(run.info.run_name)
        while name in runs:
            name += " again"
        runs[name] = {"status": run.info.status, "metrics": counted}
    return runs


def differences(calm: Mapping[str, Any], disturbed: Mapping[str, Any], what: str) -> list[str]:
    """Return a sentence for each name that is missing, left over or different."""
    sentences = [f"{what}: {name} is missing" for name in calm if name not in disturbed]
    sentences += [f"{what}: {name} was left" for name in disturbed if name not in calm]
    sentences += [f"{what}: {name} differs" for name in calm if name in disturbed and calm[name] != disturbed[name]]
    return sentences


def _digest(path: Path, folder: str) -> str:
    """Return a digest of a file's content; of a file that is not what its name says, a digest of its bytes."""
    try:
        content = _content(path, folder)
    except (ValueError, OSError):  # such a file may have been left by a killed process, and is to be named
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _content(path: Path, folder: str) -> Any:
    """Return a file's content without what varies, as values for JSON."""
    if path.suffix == ".json":
        content = _plain(json.loads(path.read_text()), folder)
    elif path.suffix == ".jsonl":
        content = [_plain(json.loads(line), folder) for line in path.read_text().splitlines()]
    elif path.suffix == ".h5":
        content = _arrays(path)
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            content = [_plain(row, folder) for row in csv.DictReader(file)]
    elif path.suffix == ".yaml":
        content = _plain(path.read_text(), folder)
    elif path.suffix == ".parquet":
        content = _table(path)
    else:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return content


def _plain(value: Any, folder: str) -> Any:
    """Return a JSON value without the entries that vary, and without the folder's path."""
    if isinstance(value, Mapping):
        return {key: _plain(item, folder) for key, item in value.items() if key not in _VARIES}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, folder) for item in value]
    return value.replace(folder, "") if isinstance(value, str) else value


def _arrays(path: Path) -> list[str]:
    import h5py

    with h5py.File(path) as file:
        return [
            f"{name} {file[name].dtype} {file[name].shape} {hashlib.sha256(file[name][()].tobytes()).hexdigest()}"
            for name in sorted(file)
        ]


def _table(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = [hashlib.sha256(repr(table[name].to_pylist()).encode()).hexdigest() for name in table.column_names]
    return [f"{name} {digest}" for name, digest in zip(table.column_names, columns, strict=True)]
