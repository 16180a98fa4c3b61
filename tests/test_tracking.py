"""MLflow, with a real SQLite store and a real server."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from wsc_ray import tracking_store
from wsc_ray.errors import TrackingError
from wsc_ray.stage import write_identity
from wsc_ray.storage import as_path
from wsc_ray.tracking import Tracker
from wsc_ray.tracking_store import tracking_uri
from wsc_ray.uris import shown


def tracker(uri, folder, **changes):
    values = {
        "uri": uri,
        "experiment": "x",
        "folder": folder,
        "command": "pretrain",
        "params": {"a": {"b": 1}, "c": [2]},
    }
    return Tracker(**{**values, **changes})


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/store/mlflow.db"


@pytest.fixture(autouse=True)
def store(tmp_path):
    (tmp_path / "store").mkdir()


def test_a_folder_has_one_run(uri, tmp_path):
    for step in (1, 2):
        with tracker(uri, tmp_path / "run") as run:
            run.log_metrics({"loss": 0.5 / step}, step)
            run.log_dataset(name="m", digest="d" * 64, source="/m")
    client = MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs(["1"])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"a.b": "1", "c": "[2]"}
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss")] == [1, 2]
    (dataset,) = found.inputs.dataset_inputs
    assert dataset.dataset.digest == "d" * 36
    assert run.last_step("loss") == 2
    assert run.last_step("never") == -1
    assert run.ui_command == f"mlflow ui --backend-store-uri {uri}"
    assert found.data.tags["mlflow.source.name"] == "wsc-ray pretrain"


@pytest.mark.parametrize(
    ("command", "folder", "name"),
    [
        ("pretrain", "camelyon16", "pretrain camelyon16"),
        ("embed", "camelyon16/features", "embed camelyon16"),
        ("tune", "camelyon16/mil", "tune camelyon16"),
        ("tune", "camelyon16/nested", "tune camelyon16/nested"),
        ("evaluate", "camelyon16/evaluate", "evaluate camelyon16"),
        ("tune", "mil", "tune mil"),
        ("report", "report", "report"),
    ],
)
def test_a_run_is_named_after_what_it_is(uri, tmp_path, command, folder, name):
    write_identity(tmp_path / "camelyon16", "pretrain", {})
    (tmp_path / folder).mkdir(exist_ok=True)
    with tracker(uri, tmp_path / folder, command=command) as run:
        pass
    assert MlflowClient(tracking_uri=uri).get_run(run.run_id).info.run_name == name


def test_a_folder_with_odd_characters(tmp_path, monkeypatch):
    odd = tmp_path / "we ird;ü#100%&'q"
    odd.mkdir()
    monkeypatch.chdir(odd)
    uri = tracking_uri(None)
    with tracker(uri, odd / "run") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert shlex.split(run.ui_command)[-1] == uri
    assert (odd / "mlflow.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["store", odd.name])
    for name in ("who?", "100%25"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with pytest.raises(TrackingError, match=r"a folder with `\?` or `%` in its name"):
            tracking_uri(None)


@pytest.mark.parametrize("folder", ["store", "new/folder"])
def test_several_who_are_the_first_to_use_a_store(tmp_path, folder):
    uri = f"sqlite:///{tmp_path}/{folder}/mlflow.db"
    code = (
        "import pathlib, sys, time, mlflow, wsc_ray.tracking_store as t\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
        "while len(list(pathlib.Path(sys.argv[2]).parent.iterdir())) < 3: time.sleep(0.01)\n"
        "t.connect(sys.argv[1], 'e')\n"
    )
    (tmp_path / "ready").mkdir()
    commands = [[sys.executable, "-c", code, uri, str(tmp_path / "ready" / str(number))] for number in range(3)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said


def test_children_come_once_by_name(uri, tmp_path):
    with tracker(uri, tmp_path / "run") as run:
        for _ in range(2):
            for name in ("trial-000", "trial-001"):
                run.child(name=name, params={"lr": 0.1}, metrics={"auroc": 0.7})
    runs = MlflowClient(tracking_uri=uri).search_runs(["1"])
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == run.run_id]
    assert sorted(r.info.run_name for r in children) == ["trial-000", "trial-001"]
    assert all(r.info.status == "FINISHED" for r in runs)


def test_a_child_that_a_crash_left_half_written_gets_what_it_lacks(uri, tmp_path):
    with tracker(uri, tmp_path / "run") as run:
        run.child(name="trial", params={}, metrics={"auroc": 0.7})
        client = MlflowClient(tracking_uri=uri)
        [child] = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
        client.update_run(child.info.run_id, status="RUNNING")  # as it is before its last metric
        run.child(name="trial", params={}, metrics={"auroc": 0.7, "seconds": 3.0})
        assert len(client.get_metric_history(child.info.run_id, "auroc")) == 1
        assert len(client.get_metric_history(child.info.run_id, "seconds")) == 1
        assert client.get_run(child.info.run_id).info.status == "FINISHED"


def test_results_that_were_logged_before_a_crash_come_once(uri, tmp_path):
    for values in ({"auroc": 0.5, "f1": 0.25}, {"auroc": 0.5, "f1": 0.75}):
        with tracker(uri, tmp_path / "run") as run:
            run.log_results(values)
    history = {key: [m.value for m in run.client.get_metric_history(run.run_id, key)] for key in ("auroc", "f1")}
    assert history == {"auroc": [0.5], "f1": [0.25, 0.75]}


def test_what_was_embedded_is_logged_once_by_an_attempt_that_finds_nothing_left(uri, tmp_path):
    for patches in (0, 0, 5, 0):  # nothing to do at all; again; a new slide; killed after it was logged
        with tracker(uri, tmp_path / "run") as run:
            run.log_embedded(patches, 2.0)
    history = {
        key: [m.value for m in run.client.get_metric_history(run.run_id, key)]
        for key in ("patches", "patches_per_second")
    }
    assert history == {"patches": [0.0, 5.0], "patches_per_second": [0.0, 2.5]}


def test_a_failure_is_a_failed_run(uri, tmp_path):
    with pytest.raises(ZeroDivisionError), tracker(uri, tmp_path / "run"):
        _ = 1 / 0
    (found,) = MlflowClient(tracking_uri=uri).search_runs(["1"])
    assert found.info.status == "FAILED"


def test_artifacts_lie_beside_the_database(uri, tmp_path):
    (tmp_path / "file.txt").write_text("text")
    with tracker(uri, tmp_path / "run") as run:
        run.log_artifact(tmp_path / "file.txt")
    assert [p.name for p in (tmp_path / "store" / "mlartifacts").rglob("*.txt")] == ["file.txt"]


def test_which_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlflow.json").write_text(json.dumps({"uri": "sqlite:////there.db", "run_id": "1"}))
    assert tracking_uri(None, tmp_path / "no", tmp_path) == "sqlite:////there.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(None, tmp_path) == "http://server"
    assert tracking_uri("sqlite:////mine.db", tmp_path) == "sqlite:////mine.db"


def test_passwords_stay_out_of_messages_and_folders(tmp_path):
    assert shown("http://me:secret@127.0.0.1:5000/x") == "http://127.0.0.1:5000/x"
    with pytest.raises(TrackingError, match=r"MLflow at http://127.0.0.1:9 cannot be used") as caught:
        tracker("http://me:secret@127.0.0.1:9", tmp_path / "run")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@contextlib.contextmanager
def server(folder):
    """An MLflow server with its files in `folder`; yields its address and its process group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "kept")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield address, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_a_server_is_as_good_as_a_file(tmp_path):
    with server(tmp_path) as (address, _):
        (tmp_path / "file.txt").write_text("text")
        with tracker(address, tmp_path / "run") as run:
            run.log_metrics({"loss": 1.0}, 7)
            run.log_artifact(tmp_path / "file.txt")
        assert run.last_step("loss") == 7
        assert run.ui_command == address
        assert [p.path for p in run.client.list_artifacts(run.run_id)] == ["file.txt"]


def test_whatever_a_command_logs_to_a_server_that_went_away_is_a_sentence_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "model").mkdir()
    with server(tmp_path) as (address, process):
        run = tracker(address.replace("//", "//user:s3cret@"), tmp_path / "run")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        calls = [
            lambda: run.log_dataset(name="m", digest="d" * 64, source="/m"),
            lambda: run.log_metrics({"loss": 1.0}),
            lambda: run.log_results({"loss": 1.0}),
            lambda: run.log_embedded(3, 1.0),
            lambda: run.set_tags({"a": "b"}),
            lambda: run.last_step("loss"),
            lambda: run.log_artifact(tmp_path / "file.txt"),
            lambda: run.log_artifact(tmp_path / "model"),
            lambda: run.register(tmp_path / "model", "heads", {}),
            lambda: run.child(name="trial", params={}, metrics={}),
            lambda: run.__exit__(None, None, None),
        ]
        for call in calls:
            with pytest.raises(TrackingError, match="cannot be used") as raised:
                call()
            assert "s3cret" not in str(raised.value)
        run.__exit__(ValueError, ValueError(), None)  # the command's own error is the one to see


def test_beside_outputs_on_an_object_store(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = as_path(s3.uri("tracking/run"))
    (run / "features").mkdir()
    uri = tracking_uri(None, run / "features", run)
    assert uri == str(run / "mlflow.db")

    def track(folder, command: str) -> str:
        tracking_store._copies.clear()  # as another process, perhaps on another machine
        with Tracker(
            uri=tracking_uri(None, folder, run), experiment="e", folder=folder, command=command, params={}
        ) as t:
            t.log_metrics({"loss": 1.0}, step=t.last_step("loss") + 1)
            t.log_artifact(folder / "mlflow.json")
            return t.run_id

    first = track(run, "pretrain")
    assert track(run / "features", "embed") != first
    assert track(run, "pretrain") == first
    tracking_store._copies.clear()
    client, experiment = tracking_store.connect(uri, "e")
    assert len(client.search_runs([experiment])) == 2
    assert [m.step for m in client.get_metric_history(first, "loss")] == [0, 1]
    assert not (tmp_path / "mlflow.db").exists()


def test_artifacts_of_an_object_store_go_to_a_configured_store(s3, tmp_path):
    folder = as_path(s3.uri("tracking/artifacts"))
    for name in ("a.txt", "inner/b.txt"):
        (folder / name).write_text(name)
    with Tracker(
        uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="e", folder=folder, command="embed", params={}
    ) as tracker:
        tracker.log_artifact(folder / "a.txt")
        tracker.log_artifact(folder / "inner", "inner")
        assert {a.path for a in tracker.client.list_artifacts(tracker.run_id)} == {"a.txt", "inner"}
