"""A rendezvous of the training workers of a local Ray through a file instead of a port.

Ray Train itself uses torch's TCPStore, which listens on every interface without authentication: anyone on the network
could stop a training or mislead it. On one machine torch's FileStore does the same in a folder that only its user may
read. The workers' own traffic then stays on the loopback interface. On a cluster of several machines Ray Train's way
remains.

Ray Train's controller imports this module, and no torch: it would spend seconds and 400 MB on what only workers need.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

LOOPBACK = ("127.0.0.1", "::1")
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def on_loopback() -> bool:
    """Return whether all nodes of the connected Ray are on this machine: each has a loopback address."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return bool(nodes) and all(node["NodeManagerAddress"] in LOOPBACK for node in nodes)


def loopback_variables() -> dict[str, str]:
    """Return the environment variables that keep gloo and NCCL on the loopback interface, except those already set."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    return {variable: loopback[0] for variable in INTERFACES if loopback and variable not in os.environ}


@dataclass
class FileRendezvous(BackendConfig):
    """Settings of a process group whose workers find each other through a file, for `TorchTrainer` in place of a `TorchConfig`.

    Args:
        backend: of torch's process group; by default nccl with GPUs, else gloo.
        timeout_s: seconds that a collective may take.
    """

    backend: str | None = None
    timeout_s: int = 1800

    @property
    def backend_cls(self) -> type[Backend]:
        return _FileRendezvousBackend

    @property
    def train_func_context(self) -> Any:
        from ray.train.torch import TorchConfig  # called by the command, which has torch

        return TorchConfig().train_func_context


class _FileRendezvousBackend(Backend):
    """The hooks that Ray Train's controller calls for every group of workers that it starts, also after a failure."""

    share_cuda_visible_devices = True
    folder: str | None = None

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, FileRendezvous)
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        self.folder = tempfile.mkdtemp(prefix="wsc-ray-rendezvous-")  # has mode 0700
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _join_group,
                    rank,
                    size,
                    backend=backend_config.backend or ("nccl" if gpus else "gloo"),
                    url=f"file://{self.folder}/store",
                    timeout=timedelta(seconds=backend_config.timeout_s),
                )
                for rank in range(size)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        try:
            ray.get(worker_group.execute_async(_leave_group), timeout=30)
        except ray.exceptions.RayError:  # the workers have ended, or hang in a collective; Ray Train ends them next
            pass
        finally:
            if self.folder:
                shutil.rmtree(self.folder, ignore_errors=True)


def _join_group(rank: int, size: int, *, backend: str, url: str, timeout: timedelta) -> None:
    from wsc_ray.distributed import join_group  # in a worker

    join_group(rank, size, backend=backend, url=url, timeout=timeout)


def _leave_group() -> None:
    from wsc_ray.distributed import leave_group

    leave_group()
