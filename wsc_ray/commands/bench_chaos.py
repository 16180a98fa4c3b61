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
    kills: Annotated[int, Option("Processes to kill.", metavar="N", least=1, most=10_000)] = 100,
    seed: Annotated[int, Option("Seed of what is killed and when.", metavar="S", least=0)] = 0,
    commands: Annotated[
        Sequence[str],
        Option(
            "Command to disturb, such as pretrain; repeatable.  [default: all of them]",
            metavar="NAME",
            name="command",
            kind="texts",
        ),
    ] = (),
    slides: Annotated[
        str | Path | None,
        Option("List of slides for `tile`.  [default: no `tile`]", metavar="FILE", kind="path"),
    ] = None,
    steps: Annotated[int, Option("Steps of training.", least=1)] = 60,
    markdown: Annotated[str | Path | None, Option("File for the whole page.", metavar="FILE", kind="path")] = None,
) -> dict[str, Any]:
    """Kill processes of commands at random, and compare.

    `manifest import`, `pretrain`, `embed`, `tune` and `evaluate` run on a small drawn cohort, and `tile` on your slides, while
    their drivers, workers, readers, Ray's own processes and whole nodes of a local cluster are killed. Each command is typed again until
    it is done, and must leave what it leaves in peace. The exit status is 1 where anything differs.

    Returns:
        The summary, also in `OUT/summary.json`, with the tables as text in `table` and every difference in `faults`.

    Raises:
        UserError: an option that cannot be, a folder that is taken, or a command that fails in peace.
    """
    from wsc_ray.bench.chaos.run import measure_chaos

    return measure_chaos(
        out=out, kills=kills, seed=seed, commands=commands, slides=slides, steps=steps, markdown=markdown
    )
