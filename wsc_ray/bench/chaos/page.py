"""The chaos benchmark as Markdown: what was killed, and how the commands ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.bench.chaos.processes import CONTROLLER, DRIVER, GCS, NODE, RAYLET, READER, WORKER
from wsc_ray.bench.markdown import environment, seconds, table

ROLES = {
    DRIVER: "the command itself",
    WORKER: "a training worker, or another process of Ray that does a part of the work",
    READER: "a process that reads patches for training",
    CONTROLLER: "Ray Train's or Ray Tune's controller",
    RAYLET: "Ray's raylet, which starts processes and holds objects",
    GCS: "Ray's GCS, which knows the cluster",
    NODE: "all processes of a node, in a local cluster of three",
}


def tables(summary: Mapping[str, Any]) -> str:
    """Return the table of kills and the list of faults."""
    roles = [role for role in ROLES if any(role in killed for killed in summary["killed"].values())]
    rows = [
        [name, seconds(summary["calm_seconds"][name]), *(str(killed.get(role, 0)) for role in roles)]
        for name, killed in summary["killed"].items()
    ]
    ended = ", ".join(f"{number} with {status}" for status, number in summary["ended"].items())
    faults = "\n".join(f"* {fault}" for fault in summary["faults"]) or "None."
    return "\n\n".join(
        [
            f"{summary['kills']} kills in {summary['rounds']} round(s); {summary['attempts']} attempts, which ended {ended}.",
            table(["command", "without kills", *roles], rows),
            f"Differences from the round without kills, tracebacks, hangs and processes left behind:\n\n{faults}",
        ]
    )


def page(summary: Mapping[str, Any]) -> str:
    """Return the whole page."""
    explained = "\n".join(f"* {role}: {meaning}" for role, meaning in ROLES.items())
    sentences = "\n".join(f"* `{sentence}`" for sentence in summary["sentences"]) or "* none"
    return (
        "\n\n".join(
            [
                "# Chaos",
                "Every command is repeated until it completes, while its processes are killed at random (SIGKILL). Its results are compared with those of "
                "the same command without kills: names of all files, their content apart from times and rates (weights, optimizer and features "
                "bit for bit), and MLflow's runs, their status and the number of values of each metric.",
                f"To repeat it: `{summary['invocation']}`.",
                environment(summary),
                "## Kills",
                summary["table"],
                explained,
                "A number after `ended` is an exit status; a negative one is the signal that ended the command. Status 2 is a sentence:",
                sentences,
            ]
        )
        + "\n"
    )
