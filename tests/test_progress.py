"""Progress in a pipe and on a terminal."""

import io

from wsc_ray import progress
from wsc_ray.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_plain_lines_with_rate_and_time_left(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    stream = io.StringIO()
    with Progress("embed", 100, unit="patches", stream=stream) as shown:
        shown.advance(25, "slide 1")
        shown.advance(25, "slide 2")
        shown.advance(50)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "embed: 25/100 patches (25%), slide 1"
    assert lines[1].startswith("embed: 50/100 patches (50%)")
    assert "patches/s" in lines[1]
    assert "left, slide 2" in lines[1]
    assert lines[-1].startswith("embed: 100/100 patches (100%)")
    assert "\r" not in stream.getvalue()


def test_lines_come_rarely():
    stream = io.StringIO()
    with Progress("embed", 1000, unit="patches", stream=stream) as shown:
        for _ in range(1000):
            shown.advance(1)
    assert len(stream.getvalue().splitlines()) == 1


def test_the_rate_leaves_out_what_was_done_before_and_the_start(monkeypatch):
    """A minute of start, then 25 patches, then 25 more within 10 seconds."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = Progress("pretrain", 200, unit="patches", done=100, stream=stream)
    now[0] = 60.0
    shown.to(125)
    now[0] = 70.0
    shown.to(150)
    first, second = stream.getvalue().splitlines()
    assert "patches/s" not in first
    assert "2.5 patches/s, 00:20 left" in second


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Progress("embed", 10, unit="patches", stream=stream) as shown:
        shown.to(10, "done")
    assert "\r" in stream.getvalue()


def test_a_rate_of_thousands_is_written_out(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = Progress("embed", 100_000, unit="patches", stream=stream)
    for done in (1, 67_121):
        now[0] += 10.0
        shown.to(done)
    assert ", 6,712 patches/s, " in stream.getvalue()
