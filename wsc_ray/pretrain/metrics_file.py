"""`metrics.jsonl`: a line each logged step, written by worker 0 and followed by the command.

A resumed run takes up at its checkpoint and does the steps after it again, so the lines after the checkpoint are cut
off first: each step stands in the file once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsc_ray.files import atomic


def truncate(path: Path, step: int) -> None:
    """Keep only whole lines of steps up to `step`."""
    kept = [line for line in read(path) if line["step"] <= step]
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))


def append(path: Path, step: int, metrics: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"step": step, **metrics}) + "\n")


def read(path: Path, *, after: int = 0) -> list[dict[str, Any]]:
    """The lines of steps later than `after`; a last line that is not whole yet is left for later."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            break
        if values["step"] > after:
            found.append(values)
    return found
