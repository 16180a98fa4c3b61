"""Running the command line in a child process, so that its end is said in a sentence even where Python has no say in it.

Ray's C++ code ends the process that drives Ray at once, with status 1, where the object store is gone or the GCS stays away for a
minute; the kernel ends it where memory runs out. Only another process can say so. This module imports nothing but the standard library: the
waiting process stays small.
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
    """Do `work` in a child process and end as that ends; where Python was not asked about its end, say a sentence and exit with status 2.

    Signals that only this process gets are passed on. The child is killed when this process is killed. On other systems than Linux `work` is
    done in this process.
    """
    if sys.platform != "linux":
        work()
        return
    reading, writing = os.pipe()
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD}
    )  # from now on they wait to be taken
    parent = os.getpid()
    child = os.fork()
    if not child:
        os.close(reading)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        atexit.register(os.write, writing, _PYTHON_ENDED)  # the first to be registered is called last
        work()
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
    """Return the sentence about a command that ended without a word of its own.

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


def _end_like(status: int) -> NoReturn:
    """End this process with the exit status of another, or by the signal that ended the other."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        os.kill(os.getpid(), -status)
    sys.exit(status)
