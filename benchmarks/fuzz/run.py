"""Damage, call, judge, put back; count by kind."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.fuzz.kinds import AS_SAID, EQUAL, UNTOLD, WRONG, Kind, kinds, random_of
from benchmarks.fuzz.world import make_world
from wsc_ray.errors import UserError

REFUSED, TRACEBACK, HANG, HUGE, LONG = "refused", "traceback", "hang", "memory", "long sentence"
GOOD = (EQUAL, REFUSED, AS_SAID, UNTOLD)
SECONDS = 20  # a command may take
MEGABYTES = 500  # and more memory than before
LETTERS = 10_000  # of a sentence with its list of problems


class _HangError(BaseException):
    pass


@dataclass
class Tally:
    """What became of a kind's mutations."""

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0  # of the slowest
    megabytes: float = 0.0  # more at the largest than before
    found: list[str] = field(default_factory=list)  # a line for each bad outcome


def fuzz(*, mutations: int, seed: int, only: str = "", keep: Path | None = None) -> list[Tally]:
    """Make `mutations` damages, dealt out evenly to the kinds.

    Args:
        only: a part of the names of the kinds.
        keep: a folder for the files whose outcome was bad.
    """
    with tempfile.TemporaryDirectory(prefix="wsc-ray-fuzz-") as folder, _folder(folder):
        root = Path(folder).resolve() / "world"
        root.mkdir()
        chosen = [kind for kind in kinds(make_world(root)) if only in kind.name]
        share, rest = divmod(mutations, len(chosen))
        return [fuzz_kind(kind, share + (place < rest), seed, keep) for place, kind in enumerate(chosen)]


def fuzz_kind(kind: Kind, mutations: int, seed: int, keep: Path | None = None) -> Tally:
    tally = Tally(kind.name)
    before = {path: kind.call(path) for path, _ in kind.targets[:1]}
    expected = next(iter(before.values()))
    for number in range(mutations):
        rng = random_of(seed, kind.name, number)
        path, ways = kind.targets[number % len(kind.targets)]
        mutation = rng.choice(list(ways))
        content = path.read_bytes()
        changed = mutation(content, rng)
        others = {other: other.read_bytes() for other, _ in kind.targets}
        path.write_bytes(changed)
        outcome, told, seconds, grown = _outcome(kind, path, expected, changed, mutation)
        for other, known in others.items():
            other.write_bytes(known)
        tally.outcomes[outcome] += 1
        tally.seconds, tally.megabytes = max(tally.seconds, seconds), max(tally.megabytes, grown)
        if outcome not in GOOD:
            tally.found.append(f"{outcome}: mutation {number}, {mutation.__name__} of {path.name}: {told}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{kind.name.replace(' ', '-')}-{number}-{path.name}").write_bytes(changed)
    return tally


def _outcome(kind: Kind, path: Path, expected: Any, changed: bytes, mutation: Any) -> tuple[str, str, float, float]:
    gc.collect()
    memory, started = _peak(), time.monotonic()
    told = ""
    try:
        with _limit(SECONDS):
            result = kind.call(path)
        if result == expected:
            outcome = EQUAL
        else:
            outcome = kind.judge(changed, result, mutation)
            told = f"{result!r:.300}"
    except UserError as error:
        told = str(error)
        outcome = REFUSED if 0 < len(told) <= LETTERS and "Traceback" not in told else LONG
    except _HangError:
        outcome = HANG
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        outcome, told = TRACEBACK, f"{type(error).__name__}: {error!s:.200} ({Path(last.filename).name}:{last.lineno})"
    seconds, grown = time.monotonic() - started, _peak() - memory
    if grown > MEGABYTES:
        outcome, told = HUGE, f"{grown:,.0f} MB"
    return outcome, told, seconds, grown


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _HangError

    known = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, known)


@contextlib.contextmanager
def _folder(path: str) -> Iterator[None]:
    """Stand in a folder, so that what a command writes beside itself is gone afterwards."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


__all__ = ["GOOD", "HANG", "HUGE", "LONG", "REFUSED", "TRACEBACK", "WRONG", "Tally", "fuzz", "fuzz_kind"]
