"""The Ray session of a command: on the cluster that RAY_ADDRESS names, or a local Ray that ends with the command."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator

import ray

from wsc_ray.errors import ResourceError
from wsc_ray.ray_token import prepare_token
from wsc_ray.ray_trouble import said_in_a_sentence

STARTS = 3


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None, code: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Connect to Ray during a block; an existing session is used and left as it is.

    Args:
        num_cpus: CPUs of a local Ray; by default this machine's, but at least 2, since training and reading take turns on a single
            core.
        code: a folder from which the processes of a local Ray can import modules too, such as a clone with its tests and benchmarks.

    Raises:
        ResourceError: the cluster that RAY_ADDRESS names does not answer, Ray does not start on this machine, or one of Ray's
            processes was killed during the block.
    """
    if ray.is_initialized():
        yield
        return
    set_ray_up()
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        set_train_up()
        prepare_token()
    with tempfile.TemporaryDirectory(prefix="wsc-ray-session-") as folder:  # the current folder of Ray's processes
        _connect(address, num_cpus, folder, code)
        quieten()
        try:
            with said_in_a_sentence(local=not address):
                yield
        finally:
            ray.shutdown()


def _connect(address: str | None, num_cpus: int | None, folder: str, code: str | os.PathLike[str] | None) -> None:
    """Connect to the cluster at `address`, or start a local Ray.

    Args:
        folder: an empty folder in which a local Ray is started. Ray puts its current folder on the workers' `sys.path`, so that a file
            `h2.py` in it would be imported instead of the package of that name. In a job, Ray has chosen the folder already.

    Raises:
        ResourceError: as `ray_session`.
    """
    try:
        if address:
            _answers(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        with _working_in(folder), _importing_from(code):
            # No dashboard. Ray's other ports require a token, by Ray's default for a session that it starts; `ray_loopback` sets
            # their network interfaces.
            _start_here(num_cpus or max(2, os.cpu_count() or 1))
    except ResourceError:
        raise
    except Exception as error:  # Ray raises plain Exceptions too
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        if address:
            raise ResourceError(f"no Ray at {address}: {reason}") from None
        raise ResourceError(
            f"Ray does not start on this machine: {reason}. Type the command again; `wsc-ray doctor` shows what this machine has"
        ) from None


def _start_here(num_cpus: int) -> None:
    """Start a local Ray, with several tries: on a busy machine a node may not be up within the time that Ray allows.

    Raises:
        ResourceError: Ray did not start, three times in a row.
    """
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # Ray raises nothing more precise than this
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if attempt == STARTS:
                raise ResourceError(
                    f"Ray did not start on this machine within its time, {STARTS} times in a row; is it busy with something else? "
                    "Type the command again when it is not"
                ) from None


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    if os.environ.get("PYTHONPATH"):  # its relative folders are relative to the user's current folder
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) if path else "" for path in paths)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _importing_from(code: str | os.PathLike[str] | None) -> Iterator[None]:
    """Let processes that start during the block import modules from `code`, after those of the user's PYTHONPATH."""
    if code is None:
        yield
        return
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), os.path.abspath(code)])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def set_ray_up() -> None:
    """Set environment variables for a Ray that starts on this machine, unless the user has set them."""
    # Silences a warning that a future version of Ray will not override variables; a user cannot act on it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray would send usage statistics to its developers every hour.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # By default Ray ends a worker process after one idle second. Reading waits longer for training, and a new process spends
    # seconds on imports.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "120000")
    # Ray warns at four times this number of processes; on a small machine most of them only wait.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
    # Ray starts a process per CPU before it knows what for. Training, encoders and trials could not use them, since they have
    # environments of their own.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def set_train_up() -> None:
    """Set environment variables of Ray Train for trainings on this machine alone, unless the user has set them."""
    # Nobody takes this machine away with a warning, as clouds do with theirs: no process needs to watch for that.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # Ray Train asks its workers every 2 s how they are, and learns only then that training has ended. A few workers answer at once.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")


def _answers(address: str) -> None:
    """Raise an OSError at once if nothing listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def quieten() -> None:
    """Silence Ray's notices, since a command shows its own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # Tune prints the traceback of a trial whose worker was killed, although it starts the trial anew; an error that lasts is raised.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
