"""Taking a cluster down from its own head.

Ray on the head is stopped first, and with it the autoscaler, which would start terminated machines again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wsc_ray.autostop.clouds import CLOUDS, Cloud, end_step
from wsc_ray.errors import ClusterError
from wsc_ray.provision.cluster_file import ClusterFile, read_cluster_file
from wsc_ray.provision.machines import Machines

CONFIG = "~/ray_bootstrap_config.yaml"  # the resolved cluster file, which Ray's launcher writes on the head
RAY = str(Path(sys.executable).parent / "ray")
PROVIDERS = ("local", *CLOUDS)
_PAUSE = 10.0  # s between two tries
_TRIES = 6  # for machines that do not answer; in a cloud the tries go on until no machine is left


def cluster_of_head() -> ClusterFile:
    """Return the cluster file of the cluster whose head this machine is.

    Raises:
        ClusterError: the file does not exist, or cannot be used; see `read_cluster_file`.
    """
    return read_cluster_file(CONFIG)


def check_able(file: ClusterFile) -> None:
    """Check that this machine can take its cluster down.

    Raises:
        ClusterError: the provider does not list the head.
        Exception: any error of the provider's library.
    """
    if file.provider == "local":
        return
    if not any(machine.head for machine in _cloud(file).machines()):
        raise ClusterError(f"{file.provider} shows no head of {file.name}")


def end(file: ClusterFile, say: Callable[[str], None]) -> None:
    """Take the cluster down, this machine last; `say` prints a line."""
    # The output of `ray stop` is long and not needed: remaining processes are looked for below.
    subprocess.run([RAY, "stop"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if file.provider == "local":
        _end_on_machines(file, say)
    else:
        _end_in_cloud(file, say)


def _end_on_machines(file: ClusterFile, say: Callable[[str], None]) -> None:
    machines = Machines(file)
    for _ in range(_TRIES):
        for machine in machines.workers:
            machines.stop_ray(machine)
        left = [line for machine in machines.workers for line in machines.left_on(machine)]
        if not left:
            return
        say(f"still there: {'; '.join(left)}")
        time.sleep(_PAUSE)


def _end_in_cloud(file: ClusterFile, say: Callable[[str], None]) -> None:
    cloud: Cloud | None = None
    while True:
        try:
            cloud = cloud or _cloud(file)
            if not end_step(cloud):
                return
        except Exception as error:  # any error: the machines cost money, and the next try may succeed
            say(f"the provider: {type(error).__name__}: {error}")
        time.sleep(_PAUSE)


def _cloud(file: ClusterFile) -> Cloud:
    return CLOUDS[file.provider](file.name, file.config["provider"])
