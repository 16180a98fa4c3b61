"""`python -m wsc_ray.provision.tether PROGRAM ...`: run a program until the standard input of this process is closed.

The parent process holds the other end of a pipe, which the system closes when the parent ends in any way: a command that was
killed leaves no SSH connection behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE = 5.0  # s for the program to end after SIGTERM


def main(command: list[str]) -> int:
    """Run the program and return its exit status."""
    # A session of its own, so that the processes that the program starts are ended with it.
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
    return program.wait()


def _end_with_stdin(program: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(timeout=GRACE)
            return


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
