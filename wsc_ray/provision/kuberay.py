"""KubeRay, through `kubectl`: applying a file's `RayCluster`, connecting to its dashboard, deleting it, and checking what is left."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import time
from collections.abc import Iterator

import yaml

from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import ClusterFile, to_apply
from wsc_ray.provision.launcher import DASHBOARD
from wsc_ray.provision.tunnel import SECONDS, free_port, tunnel

READY = 900.0  # s for the head's pod: a GPU node may have to be started, and the image is large
_CONDITION = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
_PAUSE = 2.0


class KubeRay:
    """The `RayCluster` of a file."""

    def __init__(self, file: ClusterFile):
        self.file = file
        namespace = file.config["metadata"].get("namespace")
        self._kubectl = ["kubectl", *(["--namespace", namespace] if namespace else [])]
        self._pods = f"ray.io/cluster={file.name}"

    def is_up(self) -> bool:
        """Return whether the head's pod is ready.

        Raises:
            ClusterError: kubectl is not connected.
        """
        return "True" in self._said("get", "pods", *self._head(), "--output", self._path(_CONDITION))

    def start(self) -> None:
        """Apply the file and wait for the head.

        Raises:
            ClusterError: kubectl refuses, or the head is not ready in time.
        """
        self._said("apply", "--filename", "-", given=yaml.safe_dump_all(to_apply(self.file.documents)))
        deadline = time.monotonic() + READY
        while not self.is_up():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the head of {self.file.name} is not ready after {READY / 60:.0f} minutes; `kubectl describe pods -l {self._pods}` "
                    "says why"
                )
            time.sleep(_PAUSE)

    @contextlib.contextmanager
    def reach(self, *, seconds: float = SECONDS) -> Iterator[str]:
        """Forward the dashboard to this machine during the block, and yield its address here.

        Raises:
            ClusterError: the cluster has no head, or its dashboard does not answer.
        """
        names = self._said("get", "pods", *self._head(), "--output", "name").split()
        if not names:
            raise ClusterError(f"the cluster of {self.file.path} is not up: kubectl finds no head of {self.file.name}")
        port = free_port()
        command = [*self._kubectl, "port-forward", "--address", "127.0.0.1", names[0], f"{port}:{DASHBOARD}"]
        with tunnel(command, port, seconds=seconds) as address:
            yield address

    def token(self) -> str | None:
        """Return the token that KubeRay's operator made for the cluster; None if the file asks for no token."""
        if (self.file.config.get("spec", {}).get("authOptions") or {}).get("mode") != "token":
            return None
        encoded = self._said("get", "secret", self.file.name, "--output", self._path("{.data.auth_token}"))
        return base64.b64decode(encoded).decode().strip()

    def down(self) -> list[str]:
        """Delete the cluster, and return a line for each pod that is left. Volumes stay, with the runs on them."""
        try:
            self._said("delete", "raycluster", self.file.name, "--ignore-not-found", "--wait")
            deadline = time.monotonic() + SECONDS
            while left := self._said("get", "pods", "--selector", self._pods, "--output", "name").split():
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE)
        except ClusterError as error:
            return [f"unknown: {error}"]
        return left

    @property
    def down_command(self) -> str:
        return " ".join([*self._kubectl, "delete", "raycluster", self.file.name])

    def _head(self) -> tuple[str, str]:
        return "--selector", f"{self._pods},ray.io/node-type=head"

    @staticmethod
    def _path(path: str) -> str:
        return f"jsonpath={path}"

    def _said(self, *arguments: str, given: str = "") -> str:
        """Run kubectl and return what it prints.

        Args:
            given: its standard input.

        Raises:
            ClusterError: kubectl fails.
        """
        done = subprocess.run([*self._kubectl, *arguments], capture_output=True, text=True, input=given, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.split())[-300:]
            raise ClusterError(f"`kubectl {' '.join(arguments[:2])}` failed: {reason or 'it does not say why'}")
        return done.stdout.strip()
