"""Follow a run from the command: show progress and warnings and log to MLflow, from the metrics that worker 0 writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsc_ray.errors import RunFolderError, TrackingError
from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.collapse import sentence
from wsc_ray.progress import Progress
from wsc_ray.run_folder import RunFolder
from wsc_ray.stream.plan import Plan
from wsc_ray.stream.quarantine import QUARANTINE
from wsc_ray.tracking import Tracker

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
POLL_STORE_SECONDS = 2.0


@contextmanager
def followed(folder: RunFolder, plan: Plan, tracker: Tracker, method: str) -> Iterator[None]:
    """Show progress and log to MLflow while the block runs, from the metrics that worker 0 writes.

    A run killed between two checkpoints repeats some steps; MLflow gets each step once. While the MLflow store does not
    answer, the steps wait in the run folder; when the block has ended, logging is tried for another `PATIENCE_SECONDS`.

    Args:
        method: name of the loss, for the warning of a collapse.

    Raises:
        TrackingError: the store has not taken some steps by then; the same command logs them once the store is back.
    """
    logged, unsure = tracker.last_step("loss"), False
    ended = threading.Event()
    reader = metrics_file.MetricsReader(folder.metrics)
    pause = POLL_SECONDS if isinstance(folder.path, Path) else POLL_STORE_SECONDS
    lines = metrics_file.read(folder.metrics)
    done = lines[-1]["step"] if lines else 0

    away: list[TrackingError] = []  # the error of a store that does not answer, until it does

    def log(step: int, metrics: dict[str, float]) -> None:
        nonlocal logged, unsure
        if step <= logged or away:
            return
        try:
            if unsure:  # the store may have taken a step although its answer was lost
                logged, unsure = max(logged, tracker.last_step("loss")), False
            if step > logged:
                tracker.log_metrics(metrics, step)
                logged = step
        except TrackingError as error:
            away.append(error)
            unsure = True

    def catch_up() -> None:
        """Log the steps that the store has not taken, for `PATIENCE_SECONDS` at most."""
        until = time.monotonic() + PATIENCE_SECONDS
        while away and time.monotonic() < until:
            time.sleep(pause)
            away.clear()
            for line in metrics_file.read(folder.metrics, after=logged):
                log(line["step"], {key: value for key, value in line.items() if key != "step"})

    def follow(progress: Progress) -> None:
        shown, collapsed = done, False
        bad = lines[-1].get("bad_patches", 0) if lines else 0
        while True:
            last_look, before = ended.is_set(), bool(away)
            away.clear()
            try:
                new = reader.read(after=min(shown, logged), whole=last_look)
            except (OSError, RunFolderError):
                new = []  # storage fails for a while, or a line is damaged, which the command's end names
            for line in new:
                step = line["step"]
                metrics = {key: value for key, value in line.items() if key != "step"}
                log(step, metrics)
                if step <= shown:  # read again, for a store that was away
                    continue
                if metrics.get("collapsed") and not collapsed:
                    progress.say(f"warning: {sentence(step, metrics, method)}")
                collapsed = bool(metrics.get("collapsed"))
                if metrics.get("bad_patches", 0) > bad:
                    bad = metrics["bad_patches"]
                    progress.say(
                        f"warning: step {step:,}: {bad:,.0f} unreadable patches so far, each replaced by another of its "
                        f"class; {folder.path / QUARANTINE} lists them"
                    )
                progress.to(plan.patches_until(step), f"step {step:,}/{plan.total_steps:,}, loss {metrics['loss']:.4f}")
                shown = step
            if away and not before:
                progress.say(f"warning: {away[0]}; its steps wait in {folder.metrics}")
            if last_look:
                return
            ended.wait(pause)

    with Progress(
        "pretrain", plan.patches_until(plan.total_steps), unit="patches", done=plan.patches_until(done)
    ) as progress:
        thread = threading.Thread(target=follow, args=(progress,), name="wsc-ray-follow", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        catch_up()
        if away:
            raise TrackingError(
                f"{away[0]}; its steps after {max(logged, 0):,} are missing: type the command again once it is back"
            )
