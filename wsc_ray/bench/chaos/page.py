"""What was killed and how it ended, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsc_ray.bench.chaos.processes import CONTROLLER, DRIVER, GCS, NODE, RAYLET, READER, WORKER
from wsc_ray.bench.markdown import environment, seconds, table

ROLES = {
    DRIVER: "the command itself",
    WORKER: "a training worker, or whatever else of Ray's processes does a part of the work",
    READER: "a process that reads patches for training",
    CONTROLLER: "Ray Train's or Ray Tune's controller",
    RAYLET: "Ray's raylet, which starts processes and holds objects",
    GCS: "Ray's GCS, which knows the cluster",
    NODE: "all processes of a node, in a local cluster of three",
}


def tables(summary: Mapping[str, Any]) -> str:
    """What was killed, and every fault."""
    roles = [role for role in ROLES if any(role in each for each in summary["killed"].values())]
    rows = [
        [name, seconds(summary["calm_seconds"][name]), *(str(each.get(role, 0)) for role in roles)]
        for name, each in summary["killed"].items()
    ]
    ended = ", ".join(f"{number} with {status}" for status, number in summary["ended"].items())
    faults = "\n".join(f"* {fault}" for fault in summary["faults"]) or "None."
    return "\n\n".join(
        [
            f"{summary['kills']} kills in {summary['rounds']} round(s); {summary['attempts']} attempts, which ended {ended}.",
            table(["command", "in peace", *roles], rows),
            f"Differences from the round in peace, tracebacks, hangs and processes left behind:\n\n{faults}",
        ]
    )


def page(summary: Mapping[str, Any]) -> str:
    """The whole page."""
    explained = "\n".join(f"* {role}: {meaning}" for role, meaning in ROLES.items())
    sentences = "\n".join(f"* `{each}`" for each in summary["sentences"]) or "* none"
    return (
        "\n\n".join(
            [
                "# Chaos",
                "Every command is typed again until it is done, while its processes are killed at random (SIGKILL). What it leaves is compared with what "
                "the same command left in peace: names of all files, their content apart from times and rates (weights, optimizer and features "
                "bit for bit), and MLflow's runs, their status and how many values each metric has.",
                f"To repeat it: `{summary['invocation']}`.",
                environment(summary),
                "## Kills",
                summary["table"],
                explained,
                "A number behind `ended` is an exit status; a negative one is the signal that ended the command. Status 2 is a sentence:",
                sentences,
            ]
        )
        + "\n"
    )
