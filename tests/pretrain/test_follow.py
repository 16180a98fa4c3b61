"""What MLflow gets of a run whose tracking server goes away and comes back: a real server, killed and started anew."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from wsc_ray.errors import TrackingError
from wsc_ray.pretrain import follow, metrics_file
from wsc_ray.pretrain.follow import followed
from wsc_ray.run_folder import RunFolder
from wsc_ray.tracking import Tracker


class Plan:
    """As much of a plan as following needs."""

    total_steps = 40

    def patches_until(self, step: int) -> int:
        return 8 * step


class Server:
    """`mlflow server` on a free port of loopback."""

    def __init__(self, folder):
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.uri, self.process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--default-artifact-root", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            time.sleep(0.3)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = Server(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def steps_of(tracker):
    return [metric.step for metric in tracker.client.get_metric_history(tracker.run_id, "loss")]


@pytest.mark.slow
def test_steps_wait_for_a_store_that_is_away(server, tmp_path, capsys, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    values = {"uri": server.uri, "experiment": "e", "folder": folder.path, "command": "pretrain", "params": {}}
    with Tracker(**values) as tracker:
        with followed(folder, Plan(), tracker, "weaksupcon"):
            writer = metrics_file.MetricsWriter(folder.metrics, 0)
            for step in range(1, 41):
                writer.append(step, {"loss": 1 / step})
                if step == 10:
                    time.sleep(2)
                    server.stop()
                if step == 30:
                    time.sleep(2)
                    server.start()
        assert steps_of(tracker) == [*range(1, 41)]
    assert "its steps wait in" in capsys.readouterr().err

    # Away for good: the run is not called finished.
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 2.0)
    tracker = Tracker(**values | {"folder": tmp_path / "other"})
    with pytest.raises(TrackingError, match="its steps after 0 are missing: type the command again"):
        away_for_good(RunFolder(tmp_path / "other"), tracker, server)


class Store:
    """As much of a tracker as following needs; while it is `away` it takes no steps."""

    def __init__(self, away=False):
        self.away, self.steps = away, []

    def last_step(self, key):
        return max(self.steps, default=0)

    def log_metrics(self, metrics, step):
        if self.away:
            raise TrackingError("the store is away")
        self.steps.append(step)


def test_a_collapse_is_told_once_also_while_the_store_is_away(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(TrackingError, match="away"):
        collapse(RunFolder(tmp_path), Store(away=True))
    assert capsys.readouterr().err.count("have collapsed") == 1


def collapse(folder, tracker):
    with followed(folder, Plan(), tracker, "weaksupcon"):
        writer = metrics_file.MetricsWriter(folder.metrics, 0)
        writer.append(1, {"loss": 1.0, "collapsed": 0.0})
        writer.append(2, {"loss": 1.0, "collapsed": 1.0, "mean_cosine": 1.0, "effective_rank": 1.0})
        time.sleep(0.5)


def test_a_damaged_line_does_not_end_following(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    folder, store = RunFolder(tmp_path), Store()
    with followed(folder, Plan(), store, "weaksupcon"):
        folder.metrics.write_text("damaged\n")
        time.sleep(0.2)
        writer = metrics_file.MetricsWriter(RunFolder(tmp_path / "whole").metrics, 0)
        writer.append(1, {"loss": 1.0})
        (tmp_path / "whole" / folder.metrics.name).replace(folder.metrics)
    assert store.steps == [1]


def away_for_good(folder, tracker, server):
    with followed(folder, Plan(), tracker, "weaksupcon"):
        server.stop()
        writer = metrics_file.MetricsWriter(folder.metrics, 0)
        for step in range(1, 6):
            writer.append(step, {"loss": 1 / step})
