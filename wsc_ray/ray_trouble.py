"""Reporting that one of Ray's own processes ended during a command: one sentence instead of Ray's tracebacks.

Results are written atomically and the same command goes on from them, so that the sentence needs to name only the ended process and
this advice. A local Ray is watched, because without its raylet or GCS a driver can wait for minutes before Ray notices.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import psutil
from ray import exceptions

from wsc_ray.errors import ResourceError, UserError
from wsc_ray.guard import ADVICE

POLL_SECONDS = 1.0
GRACE_SECONDS = 5.0  # for Ray to raise an error of its own, before the command is interrupted
_PROCESSES = {"raylet": "raylet", "gcs_server": "GCS"}
_TROUBLE = (
    exceptions.LocalRayletDiedError,
    exceptions.NodeDiedError,
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
    exceptions.RayActorError,
    exceptions.RaySystemError,
    exceptions.ObjectLostError,
    exceptions.RpcError,
)


@contextlib.contextmanager
def said_in_a_sentence(*, local: bool) -> Iterator[None]:
    """Turn Ray's errors about processes that were killed or ran out of memory during a block into a `ResourceError`.

    Args:
        local: whether this process started Ray, so that it can watch Ray's processes.

    Raises:
        ResourceError: one of Ray's processes ended.
    """
    watch = _Watch() if local else None
    try:
        with watch or contextlib.nullcontext():
            yield
    except UserError:
        raise
    except KeyboardInterrupt:
        if watch is None or watch.reason is None:
            raise
        raise _sentence(watch.reason) from None
    except Exception as error:
        dead = watch.dead() if watch else None
        trouble = find_trouble(error)
        if dead is None and trouble is None:
            raise
        raise _sentence(dead or _first_line(trouble)) from error


def find_trouble(error: BaseException) -> BaseException | None:
    """Return Ray's error about one of its processes among `error`, its causes and the failures of training workers.

    Return None if there is no such error.
    """
    waiting, seen = [error], set()
    while waiting:
        now = waiting.pop()
        if id(now) in seen:
            continue
        seen.add(id(now))
        if isinstance(now, _TROUBLE) and not getattr(now, "actor_init_failed", False):
            return now
        causes = (now.__cause__, now.__context__, getattr(now, "cause", None), getattr(now, "controller_failure", None))
        waiting += [cause for cause in causes if cause is not None]
        waiting += list(getattr(now, "worker_failures", {}).values())
    return None


class _Watch:
    """A thread that checks that Ray's processes, children of this one, are alive, and interrupts the main thread if one is not."""

    reason: str | None = None  # why the main thread was interrupted

    def __init__(self) -> None:
        below = psutil.Process().children(recursive=True)
        self._processes = [process for process in below if _name(process) in _PROCESSES]
        self._names = {process.pid: _PROCESSES[_name(process)] for process in self._processes}
        self._ended = threading.Event()
        self._in_main = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR1")

    def dead(self) -> str | None:
        """Return which of the processes has ended, in words; None if all are alive."""
        for process in self._processes:
            alive = False
            with contextlib.suppress(psutil.NoSuchProcess):
                alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            if not alive:
                return f"its {self._names[process.pid]} was killed or crashed"
        return None

    def __enter__(self) -> None:
        if self._in_main:
            self._before = signal.signal(signal.SIGUSR1, self._raise)
            self._thread = threading.Thread(target=self._look, name="wsc-ray-watch", daemon=True)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._in_main:
            self._thread.join()  # a signal after the handler is removed would end the process
            signal.signal(signal.SIGUSR1, self._before)

    def _look(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            if self.dead() and not self._ended.wait(GRACE_SECONDS):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self._ended.is_set():
            self.reason = self.dead()
            raise KeyboardInterrupt  # the only exception of a signal handler that interrupts `ray.get`


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return ""


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _sentence(why: str) -> ResourceError:
    return ResourceError(f"Ray ended before the command did ({why}); {ADVICE}")
