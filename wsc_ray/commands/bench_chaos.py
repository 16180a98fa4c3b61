"""`wsc-ray bench chaos`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Option, command


def _describe(summary: Mapping[str, Any], dry_run: bool) -> str:
    return summary["table"]


@command(
    "bench chaos",
    writes="`DIR/summary.json`, `attempts.json`, `logs`, `--markdown FILE`",
    describe=_describe,
    exit_status=lambda summary: 1 if summary["faults"] else 0,
)
def bench_chaos(
    *,
    out: Annotated[str | Path, Option("Folder for the results.", metavar="DIR", kind="path")],
    kills: Annotated[int, Option("Number of processes to kill.", metavar="N", least=1, most=10_000)] = 100,
    seed: Annotated[int, Option("Seed of the random kills.", metavar="S", least=0)] = 0,
    commands: Annotated[
        Sequence[str],
        Option(
            "Command whose processes are killed, such as pretrain; repeatable.  [default: all of them]",
            metavar="NAME",
            name="command",
            kind="texts",
        ),
    ] = (),
    slides: Annotated[
        str | Path | None,
        Option("List of slides, to test `tile` too.  [default: `tile` is not tested]", metavar="FILE", kind="path"),
    ] = None,
    steps: Annotated[int, Option("Training steps of `pretrain`.", least=1)] = 60,
    markdown: Annotated[
        str | Path | None, Option("Markdown file for the whole report.", metavar="FILE", kind="path")
    ] = None,
) -> dict[str, Any]:
    """Kill processes of commands at random, and compare the results.

    `manifest import`, `pretrain`, `embed`, `tune` and `evaluate` run on a small synthetic cohort, and `tile` on your slides, while
    their drivers, workers, readers, Ray's own processes and whole nodes of a local cluster are killed. Each command is repeated until
    it completes, and its results must equal those of a run without kills. The exit status is 1 if any result differs.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table` and every difference in `faults`.

    Raises:
        UserError: an option has an impossible value, the folder holds something else, or a command fails without any kill.
    """
    from wsc_ray.bench.chaos.run import measure_chaos

    return measure_chaos(
        out=out, kills=kills, seed=seed, commands=commands, slides=slides, steps=steps, markdown=markdown
    )
