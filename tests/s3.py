"""A stand-in for S3 on a loopback port (moto's server), and a proxy before it that answers as failing storage does."""

from __future__ import annotations

import http.client
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET, KEY, SECRET = "bucket", "tests", "tests-only"
STALL = 30  # seconds that a stalled answer takes: longer than any client waits

Kind = Literal["403", "404", "500", "503", "close", "cut", "stall"]


@dataclass
class Fault:
    """`times` requests for objects whose path holds `part` fail, after the first `after` of them: an error status, a
    connection closed before or in the middle of the answer, or an answer that does not come."""

    kind: Kind
    part: str
    times: float
    after: int
    asked: int = 0

    @property
    def seen(self) -> int:
        """Requests that have failed so far."""
        return int(min(max(self.asked - self.after, 0), self.times))


class Store:
    """A bucket with two doors: moto's own, and a proxy that `failing` gives faults to."""

    def __init__(self):
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self.port = self._moto.get_host_and_port()[1]
        self._proxy = _Proxy(self.port)
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{self.port}"
        self.client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        self.client.create_bucket(Bucket=BUCKET)

    def uri(self, path: str, *, proxy: bool = False, keys: bool = False, door: str | None = None) -> str:
        """The URI of an object or folder; with `keys` for processes that do not have them in the environment, with `door`
        (`host:port`) for those that reach it by another address."""
        door = door or f"127.0.0.1:{self._proxy.server_address[1] if proxy else self.port}"
        login = f"{KEY}:{SECRET}@" if keys else ""
        return f"s3://{login}{BUCKET}/{path}?endpoint_override={door}&scheme=http&region=us-east-1"

    @property
    def sent(self) -> int:
        """Bytes of objects that the proxy has passed on so far."""
        return self._proxy.sent

    def upload(self, folder: Path, path: str) -> None:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.client.upload_file(str(file), BUCKET, f"{path}/{file.relative_to(folder)}")

    @contextmanager
    def failing(self, kind: Kind, part: str = "", times: float = math.inf, after: int = 0) -> Iterator[Fault]:
        fault = Fault(kind, part, times, after)
        self._proxy.fault = fault
        try:
            yield fault
        finally:
            self._proxy.fault = None

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()


@contextmanager
def keys_in_environment() -> Iterator[None]:
    """Have the keys in the environment, for processes that start meanwhile too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@contextmanager
def started_store() -> Iterator[Store]:
    """A `Store`, with its keys in the environment."""
    with keys_in_environment():
        store = Store()
        yield store
        store.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.fault = port, None
        self.ending = threading.Event()
        self.sent = 0
        self._counting = threading.Lock()

    def shutdown(self) -> None:
        self.ending.set()
        super().shutdown()

    def count(self, passed_on: int) -> None:
        with self._counting:
            self.sent += passed_on

    def fault_of(self, path: str) -> Kind | None:
        with self._counting:
            fault = self.fault
            if fault is None or fault.part not in path:
                return None
            before, fault.asked = fault.seen, fault.asked + 1
            return fault.kind if fault.seen > before else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.server.fault_of(self.path)
        if kind in ("403", "404", "500", "503"):
            self.send_response(int(kind))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "close":
            self.close_connection = True
        elif kind == "stall":
            self.server.ending.wait(STALL)
            self.close_connection = True
        else:
            self._pass_on(cut=kind == "cut")

    do_HEAD = do_GET

    def _pass_on(self, cut: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.server.count(len(body))
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, *_: object) -> None:
        pass
