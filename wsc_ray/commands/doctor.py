"""`wsc-ray doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from wsc_ray.command import Address, Option, command
from wsc_ray.preflight.check_result import CheckResult, as_text, failures


def _describe(results: Any, dry_run: bool) -> str:
    return as_text(results)


@command("doctor", describe=_describe, exit_status=lambda results: 2 if failures(results) else 0, json=True)
def doctor(
    *,
    address: Address = None,
    recipe: Annotated[
        str | Path | None,
        Option("With --address: recipe whose manifest, MLflow store and workers are checked.", metavar="FILE"),
    ] = None,
    out: Annotated[
        str | Path | None, Option("With --address: folder for results that is checked.", metavar="DIR", kind="path")
    ] = None,
) -> list[CheckResult]:
    """Check that this machine, or a cluster, has what commands need.

    Each check prints a line: ok, or how to mend it. Without --address the checks are of this machine: Python, packages, CPUs,
    memory, GPUs, disk and the MLflow store. With --address the command runs the preflight that every job begins with. Nothing
    is changed.

    Raises:
        ClusterError: the cluster does not answer, or `recipe` or `out` is given without `address`.
        JobError: the preflight failed before it printed its results.
    """
    from wsc_ray.remote.doctor import check_cluster, check_machine

    return check_cluster(address, recipe, out) if address else check_machine(recipe, out)
