"""`python -m wsc_ray.autostop.start ORDERS`, on the head: write orders for the watch, and start the watch if none runs.

The watch runs in a session of its own, outside of Ray, so that it outlives both Ray and the login that started it.
"""

from __future__ import annotations

import subprocess
import sys
import time

from wsc_ray.autostop import orders

_SECONDS = 20.0  # s for the watch to start


def main(text: str) -> int:
    """Write the orders, start the watch if none runs, and return the exit status: 0 once a watch runs."""
    runs = _runs()
    orders.give(text, anew=not runs)
    if runs:
        return 0
    log = (orders.folder() / orders.LOG).open("a")
    watch = subprocess.Popen(
        [sys.executable, "-m", "wsc_ray.autostop.watch"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    deadline = time.monotonic() + _SECONDS
    while not _runs():
        if watch.poll() is not None or time.monotonic() > deadline:
            print(f"the watch does not start; {orders.FOLDER}/{orders.LOG} on the head says why", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def _runs() -> bool:
    lock = orders.only_watch()
    if lock is None:
        return True
    lock.close()
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
