"""The loop of the fuzzer: damage an input, call the command, judge the result, restore the input, and count by kind."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.fuzz.kinds import AS_SAID, EQUAL, UNTOLD, Kind, random_of
from wsc_ray.errors import UserError

REFUSED, TRACEBACK, HANG, HUGE, LONG = "refused", "traceback", "hang", "memory", "long sentence"
ABORT = "abort"
GOOD = (EQUAL, REFUSED, AS_SAID, UNTOLD)
SECONDS = 20  # that a command may take
MEGABYTES = 500  # by which its memory may grow
LETTERS = 10_000  # that a sentence with its list of problems may have


class _HangError(BaseException):
    pass


@dataclass
class Tally:
    """The outcomes of mutations of a kind.

    Attributes:
        outcome: the outcome of one mutation, with which the tally begins.
        seconds: time of the slowest mutation.
        megabytes: largest growth of memory by a mutation.
        found: a line for each bad outcome.
    """

    kind: str
    outcome: InitVar[str | None] = None
    seconds: float = 0.0
    megabytes: float = 0.0
    found: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self, outcome: str | None) -> None:
        if outcome is not None:
            self.outcomes[outcome] += 1

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.outcomes += other.outcomes
        self.seconds, self.megabytes = max(self.seconds, other.seconds), max(self.megabytes, other.megabytes)
        self.found += other.found


def fuzz_kind(kind: Kind, numbers: range, seed: int, keep: Path | None = None) -> Iterator[Tally]:
    """Try mutations of a kind by their numbers, and yield the tally of each.

    Args:
        keep: folder for the inputs with a bad outcome.
    """
    expected = kind.call(kind.targets[0][0])
    for number in numbers:
        rng = random_of(seed, kind.name, number)
        path, ways = kind.targets[number % len(kind.targets)]
        mutation = rng.choice(list(ways))
        content = path.read_bytes()
        changed = mutation(content, rng)
        others = {other: other.read_bytes() for other, _ in kind.targets}
        path.write_bytes(changed)
        outcome, reason, seconds, grown = _outcome(kind, path, expected, changed, mutation)
        for other, known in others.items():
            other.write_bytes(known)
        found = []
        if outcome not in GOOD:
            found = [f"{outcome}: mutation {number}, {mutation.__name__} of {path.name}: {reason}"]
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{kind.name.replace(' ', '-')}-{number}-{path.name}").write_bytes(changed)
        yield Tally(kind.name, outcome, seconds, grown, found)


def _outcome(kind: Kind, path: Path, expected: Any, changed: bytes, mutation: Any) -> tuple[str, str, float, float]:
    gc.collect()
    memory, started = _peak(), time.monotonic()
    reason = ""
    try:
        with _limit(SECONDS):
            result = kind.call(path)
        if result == expected:
            outcome = EQUAL
        else:
            outcome = kind.judge(changed, result, mutation)
            reason = f"{result!r:.300}"
    except UserError as error:
        reason = str(error)
        outcome = REFUSED if 0 < len(reason) <= LETTERS and "Traceback" not in reason else LONG
    except _HangError:
        outcome = HANG
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        outcome, reason = (
            TRACEBACK,
            f"{type(error).__name__}: {error!s:.200} ({Path(last.filename).name}:{last.lineno})",
        )
    seconds, grown = time.monotonic() - started, _peak() - memory
    if grown > MEGABYTES:
        outcome, reason = HUGE, f"{grown:,.0f} MB"
    return outcome, reason, seconds, grown


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
def standing_in(path: str) -> Iterator[None]:
    """Make a folder the current one, so that files that a command writes there are gone afterwards."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
