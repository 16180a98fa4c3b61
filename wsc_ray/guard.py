"""Run the command line in a child process. If Ray or the kernel ends the child, the parent prints a sentence.

Ray's C++ code ends the process that drives Ray, with status 1, when the object store is gone or the GCS has been away for a minute. The
kernel kills a process when memory runs out. In both cases Python code in that process does not run again, so only another process can
tell the user. This module imports only the standard library, so that the waiting process stays small.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

ADVICE = (
    "nothing that was finished is lost: type the command again, and it goes on from there. "
    "If that happens again, look for what kills processes, such as too little memory"
)
_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PYTHON_ENDED = b"."


def guarded(work: Callable[[], None]) -> None:
    """Call `work` in a child process, wait for it, and exit with its status; if it ended without Python's exit, print a sentence and exit with 2.

    Signals that only this process receives are sent on to the child. If this process is killed, so is the child. On systems other than
    Linux, `work` is called in this process.
    """
    if sys.platform != "linux":
        work()
        return
    reading, writing = os.pipe()
    # Blocked before the fork, so that `_wait` misses none of them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    parent = os.getpid()
    child = os.fork()
    if not child:
        os.close(reading)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        statuses: list[int] = []
        atexit.register(_leave, writing, statuses)  # the first to be registered is called last
        try:
            work()
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):  # Python prints any other
                statuses.append(end.code or 0)
            raise
        statuses.append(0)
        sys.exit()
    os.close(writing)
    status = os.waitstatus_to_exitcode(_wait(child))
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):  # a process that the command left behind holds the other end
        if os.read(reading, 1) == _PYTHON_ENDED:
            _end_like(status)
    if -status in _FORWARDED:
        _end_like(status)
    print(f"wsc-ray: {unannounced(status)}", file=sys.stderr, flush=True)
    sys.exit(2)


def unannounced(status: int) -> str:
    """Return the sentence about a command that printed nothing about its end.

    Args:
        status: its exit status; negative for the signal that ended it.
    """
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    return f"Ray or this machine ended the command ({how}); {ADVICE}"


def _wait(child: int) -> int:
    """Wait for the child's end, pass signals on to it meanwhile, and return its wait status."""
    while True:
        heard = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        if heard.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif (
            heard.si_code <= 0
        ):  # sent by a process to this one; a terminal's Ctrl-C (above 0) reaches the child as well
            os.kill(child, heard.si_signo)


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _leave(writing: int, statuses: list[int]) -> None:
    """Let the parent know that Python's exit has come, and end this process, if `statuses` has its exit status.

    Everything that was registered for the exit has been called. Python would only take torch and other modules apart now, which is slow.
    """
    os.write(writing, _PYTHON_ENDED)
    if statuses:
        with contextlib.suppress(
            OSError, ValueError
        ):  # on a full disk, or a pipe that nobody reads: Python then says so
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            os._exit(statuses[0])


def _end_like(status: int) -> NoReturn:
    """End this process with the exit status of another, or by the signal that ended the other."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        os.kill(os.getpid(), -status)
    sys.exit(status)
