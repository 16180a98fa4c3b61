"""Helpers for the command lines of the comparisons."""

from __future__ import annotations

from typing import Any

import click

from wsc_ray.errors import UserError


class Comparison(click.Command):
    """A command that ends a user's mistake with one sentence and exit status 2, as `wsc-ray` does."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.echo(f"{self.name}: {error}", err=True)
            context.exit(error.exit_status)


def whole_numbers(option: str, text: str) -> list[int]:
    """The numbers of an option, such as `1,2,4`.

    Raises:
        UserError: something else than whole numbers with commas between them.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{option} {text}: write whole numbers with commas between them") from None
