"""What the command lines share: options, and how a summary or a user's mistake is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from wsc_ray.describe import describe
from wsc_ray.errors import UserError


class Commands(click.Group):
    """A group whose commands end a user's mistake with one sentence and status 2, a job's failure with its own."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.echo(f"wsc-ray: {error}", err=True)
            context.exit(error.exit_status)


def options(*decorators: Callable) -> Callable:
    """Several options as one decorator, first one first in the help."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a recipe value, such as train.epochs=3; repeatable.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check everything, print the resolved recipe and the plan, and stop."
)
cluster_file_option = click.option(
    "--cluster", metavar="FILE", help="Bring up the cluster of this file, such as cluster/aws.yaml, and run there."
)
down_option = click.option(
    "--down",
    type=click.Choice(["always", "on-success", "never"]),
    default="on-success",
    show_default=True,
    help="With --cluster: when to take it down afterwards. It stays while another job runs there.",
)
address_option = click.option(
    "--address",
    metavar="URL",
    help="Run on the cluster that is up there, such as http://127.0.0.1:8265: the head's dashboard, or a port forwarded to it.",
)
cluster_options = options(address_option, cluster_file_option, down_option)
recipe_option = click.option("--recipe", type=click.Path(), help="Recipe to use instead of the run folder's.")
run_option = click.option(
    "--run", type=click.Path(), metavar="DIR", help="Run folder that `pretrain` made; everything else follows from it."
)


def show(summary: Mapping[str, Any], dry_run: bool = False) -> None:
    """The short summary for people, on stdout."""
    click.echo(describe(summary, dry_run=dry_run))


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE, as often as it is given.

    Raises:
        UserError: written otherwise.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--{option.rstrip('s').replace('label_name', 'label')} {text}: write it as NAME=VALUE")
        found[key] = value
    return found
