"""The watch goes on whatever becomes of the dashboard that it asks, and of the disk that its log lies on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from wsc_ray.autostop import dashboard


@pytest.fixture
def answering():
    """`answering(answer)` is the address of a server that gives one such answer to each request."""
    servers = []

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def with_length(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (length or len(body), body)


@pytest.mark.parametrize(
    "answer",
    [
        with_length(b'[{"status": "RUN', 4000),  # ended in the middle of its answer
        b"not HTTP\r\n\r\n",
        b"",
        with_length(b"<html>"),
        with_length(b'[{"submission_id": "a"}]'),
        with_length(b'{"jobs": 1}'),
        with_length(b'[{"status": "RUNNING", "start_time": "now"}]'),
    ],
)
def test_a_dashboard_in_trouble_is_one_that_does_not_answer(answering, answer):
    address = answering(answer)
    assert dashboard.jobs(address) is None
    dashboard.stop("a", address)


def test_a_dashboard_that_answers(answering):
    body = b'[{"submission_id": "a", "status": "RUNNING", "start_time": 2000, "metadata": {"wsc_ray": "tune"}}]'
    (job,) = dashboard.jobs(answering(with_length(body)))
    assert (job.id, job.running, job.started, job.command) == ("a", True, 2.0, "tune")


def test_a_full_disk_keeps_no_cluster_up():
    line = "from wsc_ray.autostop.watch import say; say('the cluster was taken down'); raise SystemExit(7)"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", line], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7, done.stderr
