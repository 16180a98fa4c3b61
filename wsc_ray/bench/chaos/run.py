"""Running the commands once without kills, then in rounds with kills until these are used up, and comparing the results."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsc_ray.bench.chaos.attempts import Attempt, Killer, type_once
from wsc_ray.bench.chaos.facts import differences, folder_facts, store_facts
from wsc_ray.bench.chaos.page import page, tables
from wsc_ray.bench.chaos.stages import Stage, known_names, prepare, stages_of
from wsc_ray.bench.environment import commit, describe_machine, usable_cores, versions
from wsc_ray.bench.output import invocation, require_file, require_folder
from wsc_ray.errors import DataError, UserError
from wsc_ray.files import atomic, write_summary
from wsc_ray.places import local_path
from wsc_ray.progress import Progress

COMMAND = "bench chaos"
PACKAGES = ("wsc-ray", "ray", "torch", "timm", "numpy", "pyarrow", "mlflow")
CALM = "calm"
WORK = "work"  # the folder in which every round works, so that paths in files are equal
STORE = "mlflow.db"
MOST_ATTEMPTS = 40  # of one command, before it counts as one that never completes


def measure_chaos(
    *,
    out: str | Path,
    kills: int,
    seed: int,
    commands: Sequence[str],
    slides: str | Path | None,
    steps: int,
    markdown: str | Path | None,
) -> dict[str, Any]:
    """Kill `kills` processes of commands at random, and repeat each command until it completes.

    Args:
        out: folder for the rounds, their logs and `summary.json`.
        kills: number of processes to kill.
        seed: seed of the kills and of the cohort.
        commands: names of the commands; empty for all of them.
        slides: a list of slides for `tile`; None to leave out `tile`.
        steps: training steps.
        markdown: a file for the whole page.

    Returns:
        The summary: the kills of each command, how the attempts ended, and every difference from the round without kills.
    """
    place = require_folder(out, COMMAND)
    unknown = [name for name in commands if name not in known_names()]
    if unknown:
        raise UserError(f"--command {unknown[0]}: give one of {', '.join(known_names())}")
    file = require_file(markdown) if markdown else None
    listed = local_path(slides) if slides is not None else None
    if listed is not None and not listed.is_file():
        raise DataError(f"--slides {listed}: no such file")
    options = {"out": str(out), "kills": kills, "seed": seed, "command": list(commands) or None, "steps": steps}
    options |= {"slides": str(slides) if slides is not None else None}
    started = time.time()
    for old in [place / CALM, place / WORK, *place.glob("round-*")]:
        shutil.rmtree(old, ignore_errors=True)
    write_summary(place, COMMAND, {"complete": False})  # marks the folder as this benchmark's
    work = place / WORK

    def stages() -> list[Stage]:
        return stages_of(prepare(work, steps=steps, seed=seed), listed, commands)

    with Progress(COMMAND, kills, unit="kills") as progress:
        progress.say("once without kills")
        calm = {stage.name: type_calmly(stage, work) for stage in stages()}
        work.rename(place / CALM)
        attempts: list[Attempt] = []
        faults: list[str] = []
        rounds = 0
        killer = Killer(random.Random(seed), kills)
        before = kills + 1
        while 0 < killer.left < before:  # a round in which nothing could be killed is the last
            rounds, before = rounds + 1, killer.left
            folder = place / f"round-{rounds}"
            usual = {name: attempt.seconds for name, attempt in calm.items()}
            for attempt in play(stages(), work, killer, usual, folder.name):
                attempts.append(attempt)
                faults += attempt.faults()
                progress.to(kills - killer.left, f"round {rounds}, {attempt.stage}: status {attempt.status}")
            work.rename(folder)
            faults += compare(place / CALM, folder)
    summary = {
        "kills": kills - killer.left,
        "rounds": rounds,
        "attempts": len(attempts),
        "killed": count(attempts),
        "faults": faults,
        "ended": {str(status): number for status, number in Counter(attempt.status for attempt in attempts).items()},
        "sentences": sorted({sentence(attempt) for attempt in attempts if attempt.status == 2}),
        "calm_seconds": {name: round(attempt.seconds, 1) for name, attempt in calm.items()},
        "seconds": round(time.time() - started, 1),
        "machine": describe_machine(usable_cores()),
        "versions": versions(PACKAGES),
        "commit": commit(),
        "invocation": invocation(f"wsc-ray {COMMAND}", options, markdown),
    }
    summary["table"] = tables(summary)
    (place / "attempts.json").write_text(json.dumps([asdict(attempt) for attempt in attempts], indent=1))
    if file is not None:
        with atomic(file) as temporary:
            temporary.write_text(page(summary))
    return write_summary(place, COMMAND, summary)


def type_calmly(stage: Stage, folder: Path) -> Attempt:
    """Run a command once, without kills.

    Raises:
        UserError: the command fails.
    """
    attempt = type_once(stage, folder, None, 0.0, log_of(folder, CALM, stage, 1))
    if attempt.status:
        raise UserError(f"`wsc-ray {stage.name}` fails when nothing is killed: {sentence(attempt)}")
    return attempt


def play(
    stages: Sequence[Stage], folder: Path, killer: Killer, usual: Mapping[str, float], name: str
) -> Iterator[Attempt]:
    """Repeat every command until it completes, with kills, and yield each attempt.

    The remaining kills are divided among the remaining commands, so that one command does not use them all.

    Args:
        usual: seconds that each command takes without kills.
        name: the round's name, for the logs.
    """
    for place, stage in enumerate(stages):
        killer.allowed = -(-killer.left // (len(stages) - place))
        for number in range(1, MOST_ATTEMPTS + 1):
            attempt = type_once(stage, folder, killer, usual[stage.name], log_of(folder, name, stage, number))
            yield attempt
            if attempt.status == 0 or is_done(stage, folder):
                break
        else:
            raise UserError(f"`wsc-ray {stage.name}` is not done after {MOST_ATTEMPTS} attempts; see {folder}")


def is_done(stage: Stage, folder: Path) -> bool:
    """Return whether a command that may not be repeated has completed its work, although it was killed at its end."""
    return not stage.repeats and (folder / stage.out / "summary.json").exists()


def compare(calm: Path, disturbed: Path) -> list[str]:
    """Return every difference between the results of the commands, in their folders and in MLflow."""
    faults = differences(folder_facts(calm), folder_facts(disturbed), disturbed.name)
    if (calm / STORE).exists() and (disturbed / STORE).exists():
        faults += differences(store_facts(calm / STORE), store_facts(disturbed / STORE), f"{disturbed.name}, MLflow")
    return faults


def count(attempts: Sequence[Attempt]) -> dict[str, dict[str, int]]:
    """Return the number of kills by command and role."""
    counted: dict[str, Counter[str]] = {}
    for attempt in attempts:
        counted.setdefault(attempt.stage, Counter()).update(attempt.kills)
    return {name: dict(roles) for name, roles in counted.items()}


def sentence(attempt: Attempt) -> str:
    """Return the last sentence that the command printed."""
    lines = [line for line in attempt.said.splitlines() if line.startswith("wsc-ray: ")]
    return lines[-1] if lines else (attempt.said.strip().splitlines() or ["nothing"])[-1]


def log_of(folder: Path, name: str, stage: Stage, number: int) -> Path:
    """Return the file for an attempt's stderr, beside the folder that is compared; `name` is the round's name."""
    logs = folder.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}-{stage.name.replace(' ', '-')}-{number}.err"
