"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.fuzz.kinds import WRONG
from benchmarks.fuzz.run import ABORT, GOOD, HANG, HUGE, LONG, MEGABYTES, SECONDS, TRACEBACK, Tally
from wsc_ray.bench.environment import commit, cpu_model, versions

BAD = (TRACEBACK, WRONG, HANG, HUGE, LONG, ABORT)


def page(tallies: Sequence[Tally], *, mutations: int, seed: int) -> str:
    """Return the page: a row for each kind of input, and a line for each bad outcome."""
    total = sum(sum(tally.outcomes.values()) for tally in tallies)
    bad = sum(tally.outcomes[outcome] for tally in tallies for outcome in BAD)
    packages = ", ".join(f"{name} {version}" for name, version in versions(["pyarrow", "h5py", "torch"]).items())
    lines = [
        "# Damaged and hostile inputs",
        "",
        "Every kind of input that a command reads is damaged by chance (flipped bits, cuts, other values, other types), one damage at a time,",
        "and the command is called. A good outcome is the result without the damage (equal), one sentence with exit status 2 (refused), what the",
        "changed content truly says by an independent reader of it (as it says), or a change that nothing can tell from right (not told), such",
        f"as a flipped bit that stays a valid JPEG. A bad one is a traceback, a wrong result, more than {SECONDS} s or {MEGABYTES} MB, an endless",
        "sentence, or a process that a library aborts.",
        "",
        f"`python -m benchmarks.fuzz --mutations {mutations} --seed {seed}`, commit {(commit() or '?')[:12]}, {cpu_model()}, {packages}.",
        f"{total:,} mutations, {bad} with a bad outcome.",
        "",
        "| input | " + " | ".join(GOOD) + " | bad | slowest | most memory |",
        "| --- |" + " --- |" * (len(GOOD) + 3),
    ]
    for tally in tallies:
        good = " | ".join(str(tally.outcomes[outcome]) for outcome in GOOD)
        wrong = sum(tally.outcomes[outcome] for outcome in BAD)
        lines.append(f"| {tally.kind} | {good} | {wrong} | {tally.seconds:.1f} s | {max(tally.megabytes, 0):.0f} MB |")
    found = [f"* {tally.kind}: {line}" for tally in tallies for line in tally.found]
    return "\n".join([*lines, *(["", "Bad outcomes:", "", *found] if found else []), ""])
