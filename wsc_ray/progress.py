"""Showing the progress of long work: a bar on a terminal, lines of text in a pipe or a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

PLAIN_INTERVAL = 10.0  # seconds between lines, without a terminal


class Progress:
    """Counts the work done and shows it on stderr, with a rate and the time left.

    Args:
        label: the name of the work, such as `pretrain`.
        total: the amount of work, in `unit`s.
        done: the amount that was done before (by a resumed run).
    """

    def __init__(self, label: str, total: int, *, unit: str, done: int = 0, stream: TextIO | None = None):
        self.label, self.total, self.unit = label, total, unit
        self.done = self.initial = done
        self.stream = stream or sys.stderr
        self.printed = time.monotonic()
        # The rate is measured from the first unit on: the time before it, of starting processes and importing, would distort it.
        self.first: tuple[float, int] | None = None  # the time of the first unit, and the amount done by then
        self.bar: tqdm[Any] | None = None
        if self.stream.isatty():
            self.bar = tqdm(
                desc=label, total=total, unit=unit, initial=done, file=self.stream, dynamic_ncols=True, smoothing=0
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.initial:
            self._line()

    def to(self, done: int, note: str = "") -> None:
        """Set the amount of work done; `note` is shown after the rate (`loss 4.21`)."""
        step, self.done = done - self.done, done
        if self.first is None and step:
            self.first = (time.monotonic(), done)
            if self.bar is not None:
                self.bar.unpause()
                self.bar.initial = done
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(step)
        elif time.monotonic() - self.printed >= PLAIN_INTERVAL:
            self._line(note)

    def say(self, text: str) -> None:
        """Print a line of text above the bar, or among the lines."""
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def advance(self, amount: int, note: str = "") -> None:
        """Add to the amount of work done; see `to`."""
        self.to(self.done + amount, note)

    def _line(self, note: str = "") -> None:
        self.printed = time.monotonic()
        began, before = self.first or (self.printed, self.done)
        rate = (self.done - before) / max(self.printed - began, 1e-9)
        share = 100 * self.done / max(self.total, 1)
        text = f"{self.label}: {self.done:,}/{self.total:,} {self.unit} ({share:.0f}%)"
        if rate:
            left = tqdm.format_interval((self.total - self.done) / rate)
            text += f", {rate:,.0f}" if rate >= 100 else f", {rate:.3g}"
            text += f" {self.unit}/s, {left} left"
        print(text + (f", {note}" if note else ""), file=self.stream, flush=True)
