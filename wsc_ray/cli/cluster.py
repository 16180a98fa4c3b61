"""`wsc-ray doctor` and `wsc-ray job`: looking at a cluster, and coming back to what runs there."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from wsc_ray import commands
from wsc_ray.cli.options import address_option, down_option, options, show
from wsc_ray.preflight.check_result import as_text, failures


@click.command()
@address_option
@click.option(
    "--recipe", type=click.Path(), help="With --address: whose manifest, MLflow store and workers to look at."
)
@click.option("--out", metavar="DIR", help="With --address: folder for results to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool, **arguments: Any) -> None:
    """Say whether this machine, or a cluster, has what the commands need: a line each, ok or how to mend it."""
    lines = commands.doctor(**arguments)
    click.echo(json.dumps(lines, indent=2) if as_json else as_text(lines))
    sys.exit(2 if failures(lines) else 0)


@click.group()
def job() -> None:
    """Come back to a job that `--cluster` or `--address` has submitted."""


_job_id = click.argument("job", required=False)
_where = options(
    click.option(
        "--address",
        metavar="URL",
        help="The cluster's dashboard.  [default: what RAY_API_SERVER_ADDRESS or RAY_ADDRESS name]",
    ),
    click.option("--cluster", metavar="FILE", help="Instead of an address: the file of the cluster, which is up."),
)


@job.command()
@options(_job_id, _where, down_option)
def attach(**arguments: Any) -> None:
    """Follow JOB, by default our latest, to its end and end as it does; Ctrl-C leaves it running."""
    show(commands.job_attach(**arguments))


@job.command()
@options(_job_id, _where)
def status(**arguments: Any) -> None:
    """List our jobs on a cluster, or JOB alone."""
    from wsc_ray.remote.job import as_table

    click.echo(as_table(commands.job_status(**arguments)))


@job.command()
@options(_job_id, _where)
def stop(**arguments: Any) -> None:
    """Stop JOB, by default our latest; its command typed again goes on from what it left."""
    show(commands.job_stop(**arguments))


@job.command()
@options(_job_id, _where)
def logs(**arguments: Any) -> None:
    """Print what JOB, by default our latest, has said so far."""
    click.echo(commands.job_logs(**arguments), nl=False)
