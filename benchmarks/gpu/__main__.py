"""Running the parts one after the other, each in a process of its own with a time limit, and writing each result when the part ends."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu.page import write_page
from benchmarks.gpu.part import MEANINGLESS, describe

# In order of value: the name of the module, and the seconds after which it is ended.
PARTS = {
    "checks": 120,
    "step": 90,
    "pipeline": 150,
    "views": 40,
    "losses": 60,
    "mil": 60,
    "decode": 60,
    "evidence": 240,
}
FEWEST = 10.0  # seconds: with less left, a part is left out


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that the command line names; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for <part>.json and gpu.md")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; chosen by itself where there is no GPU")
    parser.add_argument("--parts", default=",".join(PARTS), help="names with commas between them, in their order")
    parser.add_argument("--data", type=Path, help="patches for `evidence`, as benchmarks.gpu.pool writes them")
    parser.add_argument("--seconds", type=float, default=570.0, help="of the whole; what does not fit is left out")
    options = parser.parse_args(arguments)
    names = options.parts.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"--parts: there is no {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    quick = options.quick or not torch.cuda.is_available()
    options.out.mkdir(parents=True, exist_ok=True)
    if quick:
        print(MEANINGLESS, flush=True)
    machine = {**describe(), "quick": quick}
    (options.out / "machine.json").write_text(json.dumps(machine, indent=2) + "\n")
    failed, end = 0, time.monotonic() + options.seconds
    for name in names:
        started = time.monotonic()
        ended = _run(name, options, quick, min(PARTS[name], end - started))
        print(f"{name}: {ended} after {time.monotonic() - started:.0f} s", flush=True)
        failed += ended != "done"
        write_page(options.out)
    print((options.out / "gpu.md").read_text(), flush=True)
    return failed


def _run(name: str, options: argparse.Namespace, quick: bool, limit: float) -> str:
    """Run one part for `limit` seconds at most; how it ended, in words."""
    if limit < FEWEST:
        return f"left out, since the {options.seconds:g} s of the whole are over;"
    command = [sys.executable, "-m", f"benchmarks.gpu.{name}", "--out", str(options.out), "--limit", f"{limit:.0f}"]
    command += ["--quick"] if quick else []
    command += ["--data", str(options.data)] if options.data and name == "evidence" else []
    process = subprocess.Popen(command, start_new_session=True)
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started: pytest, readers
        process.wait()
        return f"ended at its limit of {limit:.0f} s"
    return "done" if status == 0 else f"failed with exit status {status}"


if __name__ == "__main__":
    sys.exit(main())
