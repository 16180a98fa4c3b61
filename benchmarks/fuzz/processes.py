"""One process for each kind of input: if a library aborts, only this process ends, and the kind goes on in a new one."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fuzz.kinds import kinds
from benchmarks.fuzz.run import ABORT, Tally, fuzz_kind, standing_in
from benchmarks.fuzz.world import make_world
from wsc_ray.errors import DataError
from wsc_ray.progress import Progress


def fuzz_apart(*, mutations: int, seed: int, only: str = "", keep: Path | None = None) -> list[Tally]:
    """Try `mutations` mutations, divided evenly among the kinds.

    Args:
        only: part of the names of the kinds to try.
        keep: folder for the inputs with a bad outcome.

    Raises:
        DataError: no kind has such a name.
    """
    names = _ask(_names)
    chosen = [name for name in names if only in name]
    if not chosen:
        raise DataError(f"no kind of input has {only!r} in its name; there are {', '.join(names)}")
    share, rest = divmod(mutations, len(chosen))
    tallies = []
    with Progress("fuzz", mutations, unit="mutations") as progress:
        for place, name in enumerate(chosen):
            count = share + (place < rest)
            tallies.append(_fuzz_one(name, count, seed, keep))
            progress.advance(count, name)
    return tallies


def _fuzz_one(name: str, count: int, seed: int, keep: Path | None) -> Tally:
    """Try all mutations of a kind, in as many processes as needed."""
    tally, first = Tally(name), 0
    while first < count:
        done = first

        def heard(part: Tally) -> None:
            nonlocal done
            done += 1
            tally.add(part)

        status = _run(_fuzz, (name, first, count, seed, keep), heard)
        if status and done == first == 0 and not tally.outcomes:
            raise DataError(f"the inputs of `{name}` cannot be made or read undamaged (exit status {status})")
        if done < count:  # the current mutation ended the process
            tally.add(Tally(name, found=[f"{ABORT}: mutation {done}: exit status {status}"], outcome=ABORT))
            done += 1
        first = done
    return tally


def _run(work: Callable[..., None], arguments: tuple[object, ...], heard: Callable[[Tally], None]) -> int:
    """Run `work` in a process, pass on each tally that it sends, and return its exit status."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        while True:
            heard(ours.recv())
    except EOFError:
        process.join()
    return process.exitcode or 0


def _ask(work: Callable[..., None]) -> list[str]:
    answers: list[list[str]] = []
    _run(work, (), answers.append)  # type: ignore[arg-type]
    return answers[0]


def _names(pipe: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="wsc-ray-fuzz-") as folder, standing_in(folder):
        root = Path(folder).resolve() / "world"
        root.mkdir()
        pipe.send([kind.name for kind in kinds(make_world(root))])


def _fuzz(pipe: Connection, name: str, first: int, count: int, seed: int, keep: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="wsc-ray-fuzz-") as folder, standing_in(folder):
        root = Path(folder).resolve() / "world"
        root.mkdir()
        (kind,) = (each for each in kinds(make_world(root)) if each.name == name)
        for tally in fuzz_kind(kind, range(first, count), seed, keep):
            pipe.send(tally)
