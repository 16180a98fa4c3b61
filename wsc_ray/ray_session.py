"""One Ray session: the cluster that RAY_ADDRESS names, or a local Ray that ends with the command."""

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
    """Connect to Ray for the length of a block; a session that is already there is used and left as it is.

    Args:
        num_cpus: CPUs of a local Ray; by default this machine's, and 2 at least, since training and reading take
            turns on a single core.
        code: a folder whose modules the processes of a local Ray import, too, such as a clone with its tests and benchmarks.

    Raises:
        ResourceError: RAY_ADDRESS names a cluster that does not answer, Ray does not start here, or one of its processes was killed
            while the block ran.
    """
    if ray.is_initialized():
        yield
        return
    set_ray_up()
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        prepare_token()
    with tempfile.TemporaryDirectory(prefix="wsc-ray-session-") as folder:  # where Ray's processes work
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
        folder: an empty one to start a local Ray in. Ray puts the current folder on its workers' `sys.path`, so that a file `h2.py`
            there would be imported for the package of that name. A job's folder is Ray's own, and stays.

    Raises:
        ResourceError: as `ray_session`.
    """
    try:
        if address:
            _answers(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        with _working_in(folder), _importing_from(code):
            # No dashboard. Ray's own ports ask for a token, which is Ray's default for a session that it starts;
            # `ray_loopback` says on which interfaces they are.
            _start_here(num_cpus or max(2, os.cpu_count() or 1))
    except ResourceError:
        raise
    except Exception as error:  # Ray raises this very class, too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(f"no Ray at {address or 'this machine'}: {reason}") from None


def _start_here(num_cpus: int) -> None:
    """Start a local Ray; on a busy machine a node may not be up within the time that Ray gives it, so that this tries again.

    Raises:
        ResourceError: it did not start, three times in a row.
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
    if os.environ.get("PYTHONPATH"):  # its relative folders are meant from where the command was typed
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) if path else "" for path in paths)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _importing_from(code: str | os.PathLike[str] | None) -> Iterator[None]:
    """Processes that start within the block import modules of `code`, after those of the user's own PYTHONPATH."""
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
    """How a Ray that is started on this machine behaves, where the user's environment does not say."""
    # Ray's own warning that a future version will not override these variables is nothing a user can act on.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray would report to its makers, each hour, what it is used for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray ends a worker process that was idle for a second. Reading waits longer than that for training, and a new
    # process spends seconds on imports.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "120000")
    # Ray warns at four times this many processes; most of a small machine's only wait, for training or for a task.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")


def _answers(address: str) -> None:
    """Fail at once where nothing listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def quieten() -> None:
    """Silence Ray's progress bars and notices: a command shows its own."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
