"""Part `checks`: the tests that are marked `gpu`, on this machine's device."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from benchmarks import CLONE
from benchmarks.gpu.part import open_part


def main() -> int:
    part = open_part("checks")
    # Without a GPU the same tests run on the CPU: that shows that they can be collected and that they hold there.
    environment = {**os.environ, "WSC_RAY_TEST_DEVICE": part.device.type}
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=CLONE, env=environment, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    part.write({"device": part.device.type, "exit_status": done.returncode, **counts, "failed_tests": failed})
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
