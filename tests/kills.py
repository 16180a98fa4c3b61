"""Kill a `pretrain` command in the middle, and type it again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from wsc_ray.pretrain import metrics_file


def pretrain_command(recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "wsc_ray", "pretrain", str(recipe), "--out", str(out)]


def kill_in_the_middle(recipe: Path, out: Path, *, after: int, steps: int) -> None:
    """Start `pretrain`, and kill it with SIGKILL once `after` of its `steps` are in its metrics."""
    metrics = out / "metrics.jsonl"
    process = subprocess.Popen(
        pretrain_command(recipe, out), cwd=recipe.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 600
        while len(metrics_file.read(metrics)) < after:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert len(metrics_file.read(metrics)) < steps


def type_again(recipe: Path, out: Path) -> None:
    """Run `pretrain` to its end."""
    done = subprocess.run(
        pretrain_command(recipe, out), cwd=recipe.parent, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
